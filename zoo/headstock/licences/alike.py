"""Values of very many verdicts: a thousand heads on one backbone differ in their names only, and are judged once.

Two artefacts are alike if their lineages are the same but for the digests of nodes that belong to one of them alone.
Verdicts read nothing of a digest but what the facts say of it, so alike artefacts have one value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable

from headstock.digest import Digest
from headstock.licences.context import Context
from headstock.licences.facts import Facts
from headstock.licences.policy import Policy
from headstock.licences.prover import Prover
from headstock.licences.values import Value

_NAMELESS = frozenset({"model", "head", "adapter", "dataset"})
"""Kinds of which nothing but the kind, the statements and the decision counts. A backbone's inputs count too, and of a
source what is commonly known about it."""


def values_of(facts: Facts, subjects: Iterable[Digest], context: Context, policy: Policy) -> dict[str, Value]:
    """The values of the verdicts on several artefacts, and nothing else of them."""
    prover, alike = Prover(facts, context, policy), Alike(facts)
    known: dict[Hashable, Value] = {}
    found: dict[str, Value] = {}
    for subject in subjects:
        key = alike.key(subject)
        if key not in known:
            known[key] = prover.value(subject)
        found[subject] = known[key]
    return found


class Alike:
    """Keys of artefacts, from one snapshot: equal keys, equal values under any policy in any context."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._referred = Counter(parent for steps in facts.edges.values() for _, parent in steps)
        self._referred.update(
            part for digest, kind in facts.kinds.items() if kind == "model" for _, part in facts.parts(digest)
        )

    def key(self, root: str) -> Hashable:
        """What decides the value of `root`; its own digest where it may be part of something else."""
        kinds, referred = self._facts.kinds, self._referred
        if root in referred or kinds.get(root) not in _NAMELESS:
            return root
        # Each node with its steps; those to nodes of its own are without a digest, and follow in the stack's order.
        found: list[Hashable] = []
        waiting = [root]
        while waiting:
            digest = waiting.pop()
            found += (kinds[digest], self._said(digest))
            for relation, parent in self._facts.steps(digest):
                if referred[parent] == 1 and kinds.get(parent) in _NAMELESS:
                    found.append(relation)
                    waiting.append(parent)
                else:
                    found.append((relation, parent))
        return tuple(found)

    def _said(self, digest: str) -> Hashable:
        """All that verdicts look at in one artefact, its digest, kind and lineage apart."""
        decision, said = self._facts.conclusions.get(digest), self._facts.statements.get(digest)
        if decision is None and said is None:
            return None
        statements = tuple((s.field, s.value, s.source, s.raw) for s in said or ())
        return (decision.expression if decision else None, statements)
