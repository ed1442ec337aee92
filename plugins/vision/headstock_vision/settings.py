"""A config.json's settings, checked by type and made canonical: equal for equal functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headstock.checkpoint import check_config
from headstock.errors import InvalidInput
from headstock.hookspecs import SourceFiles


def canonical(files: SourceFiles, published: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of `published` out of the source's configuration, which may leave a published value out.

    Values keep the type of the published ones: int, float, str, bool, or list of int. Raises `InvalidInput`.
    """
    check_config(files.config)
    return {key: _typed(key, files.config.get(key, default), default, files) for key, default in published.items()}


def _typed(key: str, value: Any, default: Any, files: SourceFiles) -> Any:
    kind = type(default)
    if kind is float and type(value) is int:
        return float(value)
    if kind is list and isinstance(value, list) and all(type(n) is int for n in value):
        return list(value)
    if kind is not list and type(value) is kind:
        return value
    expected = "a list of integers" if kind is list else kind.__name__
    raise InvalidInput(f"config.json of {files.spec!r} has {key} = {value!r}; expected {expected}")
