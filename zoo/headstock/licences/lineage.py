"""How far a parent's terms reach: a walk over typed edges that says how each artefact is part of the whole."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from headstock.licences.facts import Facts
from headstock.licences.policy import Policy

Scope = Literal["all", "nc", "attribute", "note"]
"""Which terms reach: all; limits on purpose only; the duty to attribute only; none, but say so."""

SCOPES: tuple[Scope, ...] = ("note", "attribute", "nc", "all")

COPIES: Mapping[str, bool] = {
    "finetuned_from": True,
    "quantised_from": True,
    "pruned_from": True,
    "merged_from": True,
    "initialised_from": True,
    "converted_from": False,
}
"""Relations whose child contains the parent's weights, and whether that changes them. Conversion changes a format."""

_INSIDE: Mapping[str, bool] = {**COPIES, "uses_tokenizer_of": False}

OUTPUTS = frozenset({"distilled_from", "trained_on_outputs_of"})
"""Relations whose child learned from the parent's answers."""

_HEADS = {"head_on", "adapter_of"}
_DATA_SCOPE: dict[str, Scope] = {
    "attribute": "attribute",
    "warn": "note",
    "inherit-nc": "nc",
    "inherit-all": "all",
}

# Recorded, but no terms travel: measuring on data copies nothing, and a plugin's code is not in the weights.
BUILT_BY = "built_by_plugin"
_NOTHING = {"evaluated_on", BUILT_BY}


class Reach(NamedTuple):
    """One way in which an artefact is part of the whole. A tuple, because large catalogues make very many."""

    digest: str
    scope: Scope = "all"
    via: tuple[str, ...] = ()
    """Relations on the way that carry no weights: each licence says itself what passes along them."""
    modified: bool | None = False
    """Whether the whole contains it changed; None where that is contested."""
    origin: bool = False
    """True for the source that a checkpoint was converted from: what is said about one is said about the other."""
    used: bool = False
    """True for the teacher, and what it is made of, of something that was made here: we ran it ourselves."""


class Step(NamedTuple):
    """A reach with the edge that it was first found along."""

    reach: Reach
    relation: str = ""
    child: str = ""


def walk(facts: Facts, root: str, policy: Policy) -> list[Step]:
    """Every way in which artefacts are part of `root`, nearest first; independent of the order of the edges."""
    start = Reach(root)
    found = {start: Step(start)}
    waiting = deque([start])
    while waiting:
        reach = waiting.popleft()
        for relation, parent in facts.steps(reach.digest):
            next_ = _along(facts, policy, reach, relation, parent)
            if next_ is not None and next_ not in found:
                found[next_] = Step(next_, relation, reach.digest)
                waiting.append(next_)
    return list(_undominated(found))


def _along(facts: Facts, policy: Policy, reach: Reach, relation: str, parent: str) -> Reach | None:
    """The parent's reach, or None if nothing of it travels along this relation."""
    if relation in _NOTHING:
        return None
    if relation == "trained_on":
        scope = _DATA_SCOPE.get(policy.stances["training_data"])
        if scope is None:
            return None
        # Who takes all terms of data to bind weights takes the weights for a changed form of the data.
        changed = True if scope == "all" else reach.modified
        return reach._replace(
            digest=parent, scope=min(reach.scope, scope, key=SCOPES.index), modified=changed, origin=False
        )
    heads = policy.stances["heads"]
    if relation in _HEADS and heads == "own":
        return None
    if relation in OUTPUTS or (relation in _HEADS and heads == "contested"):
        via = tuple(sorted({*reach.via, relation}))
        # Of a teacher's own teacher we used nothing, unless we made the teacher too.
        used = facts.said_made_here(reach.digest) if relation in OUTPUTS else reach.used
        return Reach(parent, reach.scope, via, _worse(reach.modified, None), used=used)
    if relation == "composed_of":
        derivative = facts.kinds.get(parent) == "backbone"
        changed = {"own": False, "inherit": True, "contested": None}[heads] if derivative else False
    else:
        # A relation that this version does not know is taken for the strictest.
        changed = _INSIDE.get(relation, True)
    origin = relation == "converted_from" and facts.kinds.get(parent) == "source"
    return Reach(parent, reach.scope, reach.via, _worse(reach.modified, changed), origin, reach.used)


def _worse(first: bool | None, second: bool | None) -> bool | None:
    if first is True or second is True:
        return True
    return None if first is None or second is None else False


def _undominated(found: dict[Reach, Step]) -> Iterator[Step]:
    """Leave out a contested reach along a head or adapter where the same artefact is inside anyway."""
    inside = {(r.digest, r.scope, r.modified) for r in found if not r.via}
    for reach, step in found.items():
        contested = bool(reach.via) and set(reach.via) <= _HEADS
        if not (contested and any((reach.digest, "all", m) in inside for m in (reach.modified, True))):
            yield step
