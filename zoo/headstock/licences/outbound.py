"""Under what a work may be shared that contains others' works: one licence must satisfy all of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, product

from headstock.licences import library
from headstock.licences.aliases import base
from headstock.licences.expression import Expression
from headstock.licences.terms import LicenceDoc
from headstock.licences.values import Value, all_of, any_of

_LIMIT = 256
"""Choices among OR-licences that are looked at; beyond them the answer is `unknown`, never a wrong yes."""


@dataclass(frozen=True, slots=True)
class Sharing:
    """What may go out."""

    value: Value
    """Whether there is any licence for the whole."""
    licences: tuple[str, ...]
    """Expressions that the whole may go out under, the ones with the fewest conditions first. Empty if none, or
    if every licence will do (`free`)."""
    free: bool = False
    """True if only notices have to be kept and the licence of the whole may be chosen."""
    why: str = ""


def fits(inbound: str, outbound: str) -> Value:
    """Whether a work under `inbound` may be part of a whole shared under `outbound`."""
    doc = library.find(base(inbound))
    if doc is None:
        return "unknown"
    if base(inbound) == base(outbound):
        return "deny" if doc.outbound.mode == "none" else "allow"
    rules = doc.outbound
    if outbound in rules.to:
        return "allow"
    if outbound in rules.unsure:
        return "unknown"
    return "allow" if rules.mode == "any" and outbound not in rules.not_to else "deny"


def sharing(expressions: Iterable[Expression]) -> Sharing:
    """Under what a changed whole of works under `expressions` may be shared; the order does not matter."""
    choices = [_alternatives(e) for e in sorted(set(expressions), key=str)]
    combinations = [
        frozenset(base(licence) for part in combination for licence in part)
        for combination in islice(product(*choices), _LIMIT + 1)
    ]
    found = [_together(combination) for combination in sorted(set(combinations), key=sorted)[:_LIMIT]]
    allowed = [f for f in found if f.value == "allow"]
    if allowed:
        free = next((f for f in allowed if f.free), None)
        licences = tuple(dict.fromkeys(name for f in allowed for name in f.licences))
        return free or Sharing("allow", licences)
    if len(combinations) > _LIMIT:
        return Sharing("unknown", (), why="there are too many choices among licences to try them all")
    value = any_of(f.value for f in found)
    return next(f for f in found if f.value == value)


def _alternatives(expression: Expression) -> list[frozenset[str]]:
    """Sets of licences, each of which satisfies the expression."""
    if expression.op == "licence":
        return [frozenset({expression.licence})]
    parts = [_alternatives(part) for part in expression.parts]
    if expression.op == "or":
        return [choice for part in parts for choice in part]
    return [frozenset().union(*combination) for combination in islice(product(*parts), _LIMIT)]


def _together(licences: frozenset[str]) -> Sharing:
    docs = [library.find(licence) for licence in sorted(licences)]
    known = [doc for doc in docs if doc is not None]
    blocking = [doc.id for doc in known if doc.outbound.mode == "none"]
    if blocking:
        return Sharing("deny", (), why=f"{' and '.join(blocking)} allows no sharing of changed works")
    if len(known) < len(docs):
        missing = sorted(licences - {doc.id for doc in known})
        return Sharing("unknown", (), why=f"the terms of {', '.join(missing)} are not known")
    same = [doc for doc in known if doc.outbound.mode == "same"]
    if same:
        return _whole_under_one(known, same)
    kept = sorted(doc.id for doc in known if doc.outbound.mode == "keep")
    return Sharing("allow", (" AND ".join(kept),)) if kept else Sharing("allow", _suggested(known), free=True)


def _whole_under_one(docs: Sequence[LicenceDoc], same: Sequence[LicenceDoc]) -> Sharing:
    """At least one work wants the whole under a licence of its choice."""
    wanted = {name for doc in same for name in (doc.id, *doc.outbound.to, *doc.outbound.unsure)}
    values = {name: all_of(fits(doc.id, name) for doc in docs) for name in sorted(wanted)}
    fitting = tuple(name for name, value in values.items() if value == "allow")
    names = " and ".join(sorted(doc.id for doc in docs if doc.outbound.mode != "any" or doc.outbound.not_to))
    if fitting:
        return Sharing("allow", fitting)
    if "unknown" in values.values():
        return Sharing("unknown", (), why=f"whether {names} fit together is disputed")
    return Sharing("deny", (), why=f"no licence satisfies {names} at once")


def _suggested(docs: Sequence[LicenceDoc]) -> tuple[str, ...]:
    """Plain choices for a whole that may go out under anything."""
    ids = {doc.id for doc in docs}
    return ("Apache-2.0", "MIT") if "Apache-2.0" in ids else ("MIT", "Apache-2.0")
