"""Named results of the contract kit: every check runs, whatever the others found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Result:
    """One promise, kept or broken."""

    check: str
    passed: bool
    detail: str = ""
    """What was measured, or why it failed; `not tried: ...` where a check does not apply."""


class Broken(Exception):
    """A promise that does not hold; the message says what was found and what was expected."""


class Run:
    """Runs checks one by one and keeps their results."""

    def __init__(self) -> None:
        self.results: list[Result] = []

    def __call__(self, check: str, body: Callable[[], Any]) -> Any:
        """The body's value, or None after recording that it failed; a text is kept as what was measured."""
        try:
            value = body()
        except Exception as error:
            text = str(error) if isinstance(error, Broken) else f"{type(error).__name__}: {error}"
            self.results.append(Result(check, False, text))
            return None
        self.results.append(Result(check, True, value if isinstance(value, str) else ""))
        return value


def holds(value: bool, otherwise: str) -> None:
    """Raise `Broken` unless the promise holds."""
    if not value:
        raise Broken(otherwise)


def is_json(value: Any) -> None:
    """Raise unless `value` has a canonical JSON form, without NaN."""
    from headstock.digest import canonical_json

    canonical_json(value)
