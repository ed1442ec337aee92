"""Declared and concluded, side by side: what documents print about one artefact."""

from __future__ import annotations

from dataclasses import dataclass

from headstock.licences.aliases import NOASSERTION
from headstock.licences.expression import parse
from headstock.licences.facts import Conclusion, Facts
from headstock.licences.statements import Finding, declared


@dataclass(frozen=True, slots=True)
class Settled:
    """One artefact's licence as declared by sources and as concluded by a person."""

    declared: str
    """An expression, several separated by ` / ` where sources contradict each other, or `NOASSERTION`."""
    concluded: str
    """The decision, else `NOASSERTION`: nothing is concluded by itself."""
    licences: tuple[str, ...]
    """Every licence named on the side that counts."""
    findings: tuple[Finding, ...]
    decision: Conclusion | None


def settle(facts: Facts, digest: str) -> Settled:
    """Both sides of one artefact."""
    said = declared(facts.statements_about(digest))
    decision = facts.conclusions.get(digest)
    named = {n for r in said.readings if r.expression for n in r.expression.licences()}
    named |= {n for r in said.readings if r.closed or r.living for n in r.candidates}
    if decision is None:
        return Settled(said.text, NOASSERTION, tuple(sorted(named)), said.findings, None)
    return Settled(said.text, decision.expression, parse(decision.expression).licences(), said.findings, decision)
