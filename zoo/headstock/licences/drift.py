"""Drift: what a hub says today about a repository against what it said when the backbone was pulled."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from headstock.digest import Digest
from headstock.licences.aliases import NOASSERTION
from headstock.licences.composition import judge
from headstock.licences.context import Context
from headstock.licences.facts import Facts, repository_of
from headstock.licences.gate import read_facts
from headstock.licences.policy import Policy
from headstock.licences.statements import Declared, declared
from headstock.licences.values import Value, rank
from headstock.records import Evidence, Version

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue

_USES = tuple(
    Context(purpose=purpose, audience="public", act=act)
    for purpose in ("research", "internal", "commercial")
    for act in ("serve", "distribute")
)
"""Uses by which an old and a new licence are compared."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One pulled version against its repository of today."""

    version: str
    repository: str
    direction: str
    """`same`, `better`, `worse`, `changed`, or `unreachable`."""
    pinned: str
    now: str
    commit: str
    """Commit of the repository's default branch today."""
    accept: str
    """What to type to let the new licence count; empty if there is nothing to accept."""


def drifts(catalogue: Catalogue, names: Collection[str] = ()) -> list[Drift]:
    """Every hub-pulled backbone version (of `names`, if any) compared with its hub. Writes nothing.

    A hub that does not answer makes a version `unreachable`, not the command fail.
    """
    facts, policy = read_facts(catalogue), Policy.load(catalogue.settings)
    versions = catalogue.versions(kind="backbone")
    for name in sorted(set(names)):
        catalogue.newest(name)
    return [d for v in versions if not names or v.name in names for d in _drift(facts, policy, v)]


def _drift(facts: Facts, policy: Policy, version: Version) -> Iterator[Drift]:
    from headstock.errors import HeadstockError
    from headstock.sources.hub import tag_now

    tags = [s for s in facts.statements.get(version.subject, ()) if s.source == "hub-tag" and s.field == "licence"]
    for repository in sorted({repository_of(s.locator) for s in tags}):
        pinned = declared(s for s in tags if repository_of(s.locator) == repository)
        try:
            commit, statement = tag_now(repository.removeprefix("hf:"))
        except HeadstockError as error:
            yield Drift(str(version), repository, "unreachable", pinned.text, error.message, "", "")
            continue
        evidence = statement.about(version.subject)
        now = declared([evidence])
        direction = _direction(facts, policy, version.subject, tags, evidence, pinned, now)
        accept = ""
        if direction != "same" and now.text != NOASSERTION:
            accept = f"headstock licence conclude {version} --as '{now.text}' --reason 'relicensed at {commit[:12]}'"
        yield Drift(str(version), repository, direction, _text(pinned), _text(now), commit, accept)


def _text(said: Declared) -> str:
    if said.text != NOASSERTION or not said.readings:
        return said.text
    return " / ".join(sorted({" or ".join(r.candidates) or r.why for r in said.readings}))


def _direction(
    facts: Facts,
    policy: Policy,
    subject: Digest,
    before: list[Evidence],
    after: Evidence,
    pinned: Declared,
    now: Declared,
) -> str:
    """Whether the new tag alone allows more or less than the old one, over all uses."""
    if pinned.readings == now.readings:
        return "same"
    old, new = (_alone(facts, subject, statements) for statements in (tuple(before), (after,)))
    moves = {rank(_value(new, subject, use, policy)) - rank(_value(old, subject, use, policy)) for use in _USES}
    if moves == {0}:
        return "changed"
    return "better" if min(moves) >= 0 else "worse" if max(moves) <= 0 else "changed"


def _alone(facts: Facts, subject: Digest, statements: tuple[Evidence, ...]) -> Facts:
    return replace(facts, statements={subject: statements}, conclusions={}, edges={})


def _value(facts: Facts, subject: Digest, use: Context, policy: Policy) -> Value:
    return judge(facts, subject, use, policy).value
