"""Named results of the contract kit: every check runs, whatever the others found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

NOT_TRIED = "not tried: "
"""How the detail of a check begins that does not apply; it counts as passed."""


@dataclass(frozen=True, slots=True)
class Result:
    """One promise, kept or broken."""

    check: str
    passed: bool
    detail: str = ""
    """What was measured, or why it failed; `not tried: ...` where a check does not apply."""
    subject: str = ""
    """What was checked: `plugin`, `family NAME` or `head NAME`; empty where one thing alone was."""


class Broken(Exception):
    """A promise that does not hold; the message says what was found and what was expected."""


class Run:
    """Runs checks one by one and keeps their results."""

    def __init__(self, subject: str = "") -> None:
        self.results: list[Result] = []
        self._subject = subject

    def __call__(self, check: str, body: Callable[[], Any]) -> Any:
        """The body's value, or None after recording that it failed; a text is kept as what was measured."""
        try:
            value = body()
        except Exception as error:
            text = str(error) if isinstance(error, Broken) else f"{type(error).__name__}: {error}"
            self.results.append(Result(check, False, text, self._subject))
            return None
        self.results.append(Result(check, True, value if isinstance(value, str) else "", self._subject))
        return value

    def unreached(self, checks: Iterable[str], why: str) -> None:
        """Record checks that cannot run because of `why`: what was not proved does not hold."""
        self.results += [Result(check, False, f"not reached: {why}", self._subject) for check in checks]


def merged(results: Iterable[tuple[str, Result]]) -> list[Result]:
    """Results of several variants of one subject as one list: a check holds if it holds in every variant."""
    found: dict[tuple[str, str], Result] = {}
    for variant, result in results:
        detail = f"{variant}: {result.detail}" if variant and result.detail else result.detail
        key = (result.subject, result.check)
        if key not in found:
            found[key] = replace(result, detail=detail)
        elif detail:
            before = found[key]
            found[key] = replace(
                before,
                passed=before.passed and result.passed,
                detail=f"{before.detail}; {detail}" if before.detail else detail,
            )
        else:
            found[key] = replace(found[key], passed=found[key].passed and result.passed)
    return list(found.values())


def holds(value: bool, otherwise: str) -> None:
    """Raise `Broken` unless the promise holds."""
    if not value:
        raise Broken(otherwise)


def is_json(value: Any) -> None:
    """Raise unless `value` has a canonical JSON form, without NaN."""
    from headstock.digest import canonical_json

    canonical_json(value)
