"""Under what a version may be shared: the terms of everything in it together, silence counted as silence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from headstock.digest import Digest
from headstock.licences import library
from headstock.licences.aliases import base
from headstock.licences.expression import Expression, parse
from headstock.licences.facts import Facts
from headstock.licences.lineage import OUTPUTS, Reach, walk
from headstock.licences.outbound import Sharing, sharing
from headstock.licences.policy import Policy
from headstock.licences.statements import declared
from headstock.licences.terms import LicenceDoc, Outbound
from headstock.licences.values import Value, all_of, any_of


@dataclass(frozen=True, slots=True)
class Whole:
    """What a version contains, as far as licences go."""

    terms: tuple[Expression, ...]
    """Each as it was concluded or declared: a choice stays a choice."""
    gaps: tuple[str, ...]
    """Why the terms of some part are not known."""


def whole(facts: Facts, subject: Digest, policy: Policy) -> Whole:
    """Everything whose terms reach the version, head and backbone taken as one work."""
    terms: set[Expression] = set()
    gaps: list[str] = []
    for step in walk(facts, subject, policy.with_stances(heads="inherit")):
        if step.reach.scope == "all":
            for found in _of(facts, step.reach, policy):
                terms.add(found) if isinstance(found, Expression) else gaps.append(found)
    return Whole(tuple(sorted(terms, key=str)), tuple(dict.fromkeys(gaps)))


def outbound(found: Whole) -> Sharing:
    """Under what it may go out; a part whose terms nobody knows leaves that unknown, never free."""
    said = sharing(found.terms)
    if found.gaps and said.value == "allow":
        return Sharing("unknown", (), why="; ".join(found.gaps))
    return said


def _of(facts: Facts, reach: Reach, policy: Policy) -> Iterator[Expression | str]:
    """The terms of one artefact that arrive, or why they are not known."""
    label = facts.label(reach.digest)
    if reach.origin and not facts.own_statements(reach.digest):
        return
    for found in _stated(facts, reach.digest):
        if isinstance(found, str):
            yield f"{label}: {found}"
            continue
        arriving = arrives(found, reach.via, policy)
        if arriving == "allow":
            yield found
        elif arriving == "unknown":
            yield f"{label}: whether the terms of {found} pass along {', '.join(reach.via)} is contested"


def _stated(facts: Facts, digest: str) -> Sequence[Expression | str]:
    decision = facts.conclusions.get(digest)
    if decision is not None:
        return [parse(decision.expression)]
    readings = declared(facts.statements_about(digest)).readings
    if not readings:
        return [] if facts.made_here(digest) else ["no source states a licence"]
    found: list[Expression | str] = []
    for reading in readings:
        if reading.expression is not None:
            found.append(reading.expression)
        elif reading.closed or reading.living:
            found += [parse(name) for name in reading.candidates]
        if reading.expression is None and not reading.closed:
            found.append(reading.why)
    return found


def arrives(terms: Expression, via: Sequence[str], policy: Policy) -> Value:
    """Whether terms pass along relations without weights: `deny` if they do not, `unknown` if that is contested.

    They do if any of their licences does: which of a choice was made is not known.
    """
    return any_of(_along(licence, via, policy) for licence in terms.licences())


def _along(licence: str, via: Sequence[str], policy: Policy) -> Value:
    doc = library.find(base(licence))
    return all_of(_passes(doc, relation, policy) for relation in via)


def _passes(doc: LicenceDoc | None, relation: str, policy: Policy) -> Value:
    flow = doc.flow.get(relation, "undefined") if doc else "undefined"
    stance = policy.stances["silence" if relation in OUTPUTS else "heads"]
    if flow in ("own", "naming") or (flow == "undefined" and stance == "own"):
        return "deny"
    if flow == "inherits" or stance == "inherit":
        return "allow"
    # A licence that lets the whole go out under anything binds nobody, whichever way the question is settled.
    free = doc is not None and doc.outbound == Outbound()
    return "deny" if free and flow == "undefined" else "unknown"
