"""Decisions: a person concludes under which licence an artefact is, with a reason, in the hash-chained audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headstock.digest import Digest
from headstock.errors import FailedPrecondition, InvalidInput, NotFound
from headstock.licences import library
from headstock.licences.aliases import base, resolve
from headstock.licences.facts import CONCLUDE, Conclusion, conclusions

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue


def conclude(catalogue: Catalogue, subject: Digest, licence: str, reason: str) -> Conclusion:
    """Record that `subject` is under `licence` (an SPDX expression or ids of ours).

    Raises `InvalidInput` for an empty reason or a family name, `NotFound` for an artefact or a licence that is not
    known: only what has terms can be concluded.
    """
    catalogue.artefact(subject)
    expression = known_expression(licence)
    return _record(catalogue, subject, expression, reason)


def withdraw(catalogue: Catalogue, subject: Digest, reason: str) -> Conclusion:
    """Take the decision back: what sources declare counts again. Raises `FailedPrecondition` if there is none."""
    if not decided(catalogue, subject):
        raise FailedPrecondition("nothing was concluded about this artefact, so nothing can be withdrawn")
    return _record(catalogue, subject, "", reason)


def history(catalogue: Catalogue, subject: Digest | None = None) -> list[Conclusion]:
    """Every decision about an artefact, or about all, oldest first."""
    with catalogue.snapshot() as query:
        return [c for c in conclusions(query) if subject in (None, c.subject)]


def decided(catalogue: Catalogue, subject: Digest) -> bool:
    """Whether a decision about the artefact stands."""
    found = history(catalogue, subject)
    return bool(found and found[-1].expression)


def _record(catalogue: Catalogue, subject: Digest, expression: str, reason: str) -> Conclusion:
    if not reason.strip():
        raise InvalidInput("a decision needs a reason; found an empty one", fix="--reason 'WHY, and where you read it'")
    event = catalogue.record(CONCLUDE, subject, {"expression": expression, "reason": reason.strip()})
    return Conclusion(subject, expression, reason.strip(), event.actor, event.at, event.id)


def known_expression(licence: str, option: str = "--as") -> str:
    """An expression whose every licence has a record, from what a person typed after `option`.

    Raises as `conclude` does.
    """
    meaning = resolve(licence)
    if meaning.expression is not None:
        unknown = [name for name in meaning.expression.licences() if library.find(base(name)) is None]
        if not unknown:
            return str(meaning.expression)
        library.get(base(unknown[0]))
    if meaning.kind == "ambiguous":
        raise InvalidInput(
            f"{licence!r} names a family, not a licence: {meaning.why}",
            fix=f"{option} {meaning.candidates[0]}" if meaning.candidates else None,
        )
    library.get(licence)
    raise NotFound(f"{licence!r} is not understood", fix="headstock licence list")
