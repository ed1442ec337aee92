"""Names of entries and aliases, and how a person refers to one version: NAME, NAME:3 or NAME:production."""

from __future__ import annotations

import re
from dataclasses import dataclass

from headstock.errors import InvalidInput

NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
"""One to 64 characters, safe as a file name, in a URL and in a shell: no slash, no upper case, no leading dot."""

# Windows device names: legal on Linux, unusable the day a store is copied.
_RESERVED = {"con", "prn", "aux", "nul", *(f"com{i}" for i in range(1, 10)), *(f"lpt{i}" for i in range(1, 10))}


_DIGITS = 18
"""Of the largest version number that every database holds."""


def is_number(selector: str) -> bool:
    """True for a version number; other scripts have digits too, and exponents are digits to Python."""
    return selector.isascii() and selector.isdigit()


def check_name(name: str, what: str = "name") -> str:
    """Return `name` unchanged, or raise `InvalidInput` that says what a name may look like."""
    if not NAME.fullmatch(name) or name.split(".")[0] in _RESERVED or ".." in name:
        suggestion = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:64]
        raise InvalidInput(
            f"{what} {name[:80]!r} is not allowed; expected 1 to 64 of a-z, 0-9, '.', '_' and '-', "
            "beginning and ending with a letter or digit",
            fix=suggestion if NAME.fullmatch(suggestion) and suggestion not in _RESERVED else None,
        )
    return name


def check_alias(alias: str) -> str:
    """Return `alias` unchanged; an alias is a name that is not a number, so that NAME:3 is never ambiguous."""
    check_name(alias, "alias")
    if alias.isdigit():
        raise InvalidInput(
            f"alias {alias!r} is a number; versions are numbers, aliases are words such as 'production'",
            fix=f"NAME:{alias} for the version, or an alias such as production",
        )
    return alias


@dataclass(frozen=True, slots=True)
class Reference:
    """One version of an entry as a person writes it."""

    name: str
    """Entry name."""
    selector: str = ""
    """`""` (alias production, else newest), a version number, or an alias."""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse `NAME`, `NAME:3` or `NAME:production`; raises `InvalidInput`."""
        name, _, selector = text.partition(":")
        check_name(name)
        if not is_number(selector):
            if selector:
                check_alias(selector)
        elif len(selector) > _DIGITS:
            raise InvalidInput(f"version {selector[:20]!r}... has {len(selector)} digits; expected at most {_DIGITS}")
        return cls(name, selector)

    def __str__(self) -> str:
        return f"{self.name}:{self.selector}" if self.selector else self.name
