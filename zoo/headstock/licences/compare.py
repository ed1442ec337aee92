"""What-if questions over the whole catalogue: another policy, another licence of a backbone, another backbone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headstock.digest import Digest
from headstock.licences.composition import Verdict, judge
from headstock.licences.context import Context
from headstock.licences.facts import Facts
from headstock.licences.policy import Policy
from headstock.licences.values import rank
from headstock.records import Version

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class Change:
    """A version whose verdict is not the same before and after."""

    version: Version
    before: Verdict
    after: Verdict

    @property
    def direction(self) -> str:
        """`better`, `worse`, or `changed` where only reasons or duties differ."""
        moved = rank(self.after.value) - rank(self.before.value)
        return "better" if moved > 0 else "worse" if moved < 0 else "changed"


def current(catalogue: Catalogue) -> list[Version]:
    """The newest version of every entry and those that aliases point to."""
    shown = []
    newest: set[str] = set()
    for version in catalogue.versions():
        aliased = version.name in newest and version.number in catalogue.aliases(version.name).values()
        if version.name not in newest or aliased:
            shown.append(version)
        newest.add(version.name)
    return shown


def policy_changes(
    facts: Facts, versions: Sequence[Version], first: Policy, second: Policy, context: Context | None
) -> Iterator[Change]:
    """Versions that the second policy treats otherwise; without `context` each policy speaks of its own."""
    for version in versions:
        before = judge(facts, version.subject, context or first.context, first)
        after = judge(facts, version.subject, context or second.context, second)
        if (before.value, before.action) != (after.value, after.action):
            yield Change(version, before, after)


def affected(facts: Facts, versions: Sequence[Version], digest: Digest) -> list[Version]:
    """Versions in whose lineage the artefact is: those that a change of its licence can reach."""
    children: dict[str, set[str]] = {}
    for child, steps in facts.edges.items():
        for _, parent in steps:
            children.setdefault(parent, set()).add(child)
    for subject in facts.kinds:
        for _, part in facts.parts(subject):
            children.setdefault(part, set()).add(subject)
    reached, waiting = {str(digest)}, [str(digest)]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in reached:
                reached.add(child)
                waiting.append(child)
    return [version for version in versions if version.subject in reached]


def replacements(
    facts: Facts, versions: Sequence[Version], backbone: Digest, context: Context, policy: Policy
) -> list[Version]:
    """Backbones with the same interface (taps, inputs, padding) whose licences allow the use."""
    wanted = _interface(facts, backbone)
    return [
        version
        for version in versions
        if version.kind == "backbone"
        and version.subject != backbone
        and _interface(facts, version.subject) == wanted
        and judge(facts, version.subject, context, policy).value == "allow"
    ]


def _interface(facts: Facts, digest: Digest) -> tuple[object, ...]:
    identity = facts.identity(digest)
    return tuple(identity.get(key) for key in ("taps", "inputs", "padding"))
