"""Options as a person types them, `NAME=VALUE`, over the defaults that give each its type."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from headstock.errors import InvalidInput
from headstock.finetune.recipe import Scalar


def typed_options(what: str, option: str, defaults: Mapping[str, Any], typed: Mapping[str, str]) -> dict[str, Scalar]:
    """All options of `what` (`head type 'x'`), `typed` over `defaults`; `option` is the command line's name for one.

    Raises `InvalidInput` for a name or value that is wrong.
    """
    for name in typed:
        if name not in defaults:
            close = get_close_matches(name, defaults, n=1)
            raise InvalidInput(
                f"{what} has no option {name!r}; it has {', '.join(defaults) or 'none at all'}",
                fix=f"{option} {close[0]}={typed[name]}" if close else f"leave {option} {name}={typed[name]} out",
            )
    return {name: _value(option, name, default, typed.get(name)) for name, default in defaults.items()}


def _value(option: str, name: str, default: Any, typed: str | None) -> Scalar:
    if typed is None:
        result: Scalar = default
        return result
    if isinstance(default, bool):
        if typed.lower() not in ("true", "false"):
            raise InvalidInput(f"{option} {name}={typed}: expected true or false")
        return typed.lower() == "true"
    if isinstance(default, int | float):
        try:
            return type(default)(typed)
        except ValueError as error:
            raise InvalidInput(f"{option} {name}={typed}: expected a number such as {default}") from error
    return typed
