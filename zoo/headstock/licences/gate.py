"""The narrow door for whoever must ask before acting: one verdict on one artefact, or many on one snapshot."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from headstock.digest import Digest
from headstock.licences.composition import Verdict, judge_many
from headstock.licences.context import Context
from headstock.licences.facts import Facts
from headstock.licences.policy import Policy

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue


def verdict(
    catalogue: Catalogue, digest: Digest, context: Context | None = None, policy: Policy | None = None
) -> Verdict:
    """The verdict on an artefact of the catalogue.

    `policy` defaults to the installation's own, `context` to the policy's. Never asks a hub.
    Raises `NotFound` for an unknown artefact, `Corrupt` for a decision that was tampered with.
    """
    return verdicts(catalogue, [digest], context, policy)[digest]


def verdicts(
    catalogue: Catalogue,
    digests: Iterable[Digest],
    context: Context | None = None,
    policy: Policy | None = None,
) -> dict[Digest, Verdict]:
    """Verdicts on several artefacts from one snapshot: what a server asks for when it loads or the policy changes."""
    policy = policy or Policy.load(catalogue.settings)
    facts = read_facts(catalogue)
    return judge_many(facts, digests, context or policy.context, policy)


def read_facts(catalogue: Catalogue) -> Facts:
    """All that verdicts need, from one snapshot of the catalogue."""
    with catalogue.snapshot() as query:
        return Facts.read(query)
