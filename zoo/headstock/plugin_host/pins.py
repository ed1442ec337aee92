"""Which distribution owns a name that two plugins claim: `[plugins.pins]` in `$HEADSTOCK_HOME/config.toml`."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args

from headstock.errors import InvalidInput

Claim = Literal["plugin", "family", "head", "objective", "command"]
"""Kinds of name that plugins claim."""

CLAIMS: tuple[str, ...] = get_args(Claim)

FILE_NAME = "config.toml"

Pins = dict[str, dict[str, str]]
"""Kind of name to name to distribution."""


def read_pins(home: Path) -> Pins:
    """The pins of this installation; empty when there is no file. Raises `InvalidInput` for a damaged one."""
    table = _read(home).get("plugins", {})
    pins: Any = table.get("pins", {}) if isinstance(table, dict) else None
    if not _is_pins(pins):
        raise InvalidInput(
            f"[plugins.pins] in {FILE_NAME} is not kind.name = distribution, with a kind of {list(CLAIMS)}",
            fix='write it as family.NAME = "DISTRIBUTION"',
        )
    return {str(kind): dict(names) for kind, names in pins.items()}


def write_pin(home: Path, claim: Claim, name: str, distribution: str) -> None:
    """Record that `name` belongs to `distribution`, in one rename; the file's other tables stay (comments do not)."""
    import tomli_w

    value = _read(home)
    pins = value.setdefault("plugins", {}).setdefault("pins", {})
    pins.setdefault(claim, {})[name] = distribution
    home.mkdir(parents=True, exist_ok=True)
    new = home / f"{FILE_NAME}.{os.getpid()}.tmp"
    new.write_bytes(tomli_w.dumps(value).encode())
    new.replace(home / FILE_NAME)


def pin_command(claim: Claim, name: str, distribution: str = "DISTRIBUTION") -> str:
    """What a person types to settle a conflict."""
    return f"headstock plugins pin {claim} {name} {distribution}"


def _read(home: Path) -> dict[str, Any]:
    path = home / FILE_NAME
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"{FILE_NAME} in HEADSTOCK_HOME is not TOML: {error}", fix=f"correct or remove {FILE_NAME}"
        ) from error


def _is_pins(value: Any) -> bool:
    return isinstance(value, dict) and all(
        kind in CLAIMS and isinstance(names, dict) and all(isinstance(d, str) for d in names.values())
        for kind, names in value.items()
    )
