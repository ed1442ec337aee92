"""Where a version comes from and what follows for each act: what a server tells anybody who asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

from headstock.licences import obligations
from headstock.licences.composition import Verdict, judge
from headstock.licences.context import Act, Context
from headstock.licences.cyclonedx import closure
from headstock.licences.facts import Facts
from headstock.licences.policy import Policy
from headstock.licences.settled import Settled, settle
from headstock.records import Version


@dataclass(frozen=True)
class Provenance:
    """One version with its whole lineage."""

    version: Version
    parts: Mapping[str, str]
    """Part to digest, the version itself among them."""
    artefacts: Mapping[str, Settled]
    """Digest to both sides of its licence, for everything that any edge leads to."""
    edges: tuple[tuple[str, str, str], ...]
    """Child, relation, parent; relations of parts begin with `has_`."""
    use: str
    """The use in words, without its act."""
    verdicts: Mapping[Act, Verdict]
    facts: Facts

    @property
    def display(self) -> tuple[str, ...]:
        """Words to show where it is served."""
        return obligations.display(self.verdicts["serve"].duties)

    @property
    def acceptable_use(self) -> tuple[str, ...]:
        """Policies to keep to, whatever the act."""
        return obligations.acceptable_use(d for verdict in self.verdicts.values() for d in verdict.duties)

    @property
    def plugins(self) -> dict[str, list[str]]:
        """Digest of each plugin to the digests of what it made."""
        made: dict[str, list[str]] = {}
        for child, relation, parent in self.edges:
            if relation == "built_by_plugin":
                made.setdefault(parent, []).append(child)
        return made

    def proof(self, act: Act) -> dict[str, Any]:
        """The proof of one act without the names of those who decided."""
        whole = self.verdicts[act].proof
        lists = {key: [self._anonymous(node) for node in whole[key]] for key in ("of", "code") if key in whole}
        return {**whole, **lists}

    def _anonymous(self, node: Mapping[str, Any]) -> dict[str, Any]:
        if "concluded" not in node:
            return dict(node)
        decision = self.facts.conclusions[node["digest"]]
        return {**node, "concluded": f"at {decision.at}: {decision.reason}"}


def provenance(facts: Facts, version: Version, context: Context, policy: Policy) -> Provenance:
    """All of it from one snapshot; raises `NotFound` if the version is not in it."""
    kind = facts.identity(version.subject)["kind"]
    digests = closure(facts, version.subject)
    acts: tuple[Act, ...] = get_args(Act)
    return Provenance(
        version,
        {str(kind): version.subject, **dict(facts.parts(version.subject))},
        {digest: settle(facts, digest) for digest in digests},
        tuple(sorted(edge for digest in digests for edge in _edges(facts, digest))),
        str(context).partition(" ")[2],
        {act: judge(facts, version.subject, replace(context, act=act), policy) for act in acts},
        facts,
    )


def _edges(facts: Facts, digest: str) -> Iterator[tuple[str, str, str]]:
    for part, parent in facts.parts(digest):
        yield digest, f"has_{part}", parent
    for relation, parent in facts.edges.get(digest, ()):
        yield digest, relation, parent
