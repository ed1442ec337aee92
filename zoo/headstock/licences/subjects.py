"""What a person points at: an entry, a part of it, or a digest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from headstock.digest import Digest, short
from headstock.errors import InvalidInput, NotFound
from headstock.licences.facts import Facts
from headstock.licences.lineage import walk
from headstock.licences.policy import Policy
from headstock.names import Reference

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue

KINDS = ("model", "backbone", "head", "adapter", "dataset", "source")

_DIGEST = re.compile(r"sha256:[0-9a-f]{8,64}")


def find(catalogue: Catalogue, facts: Facts, reference: str, part: str = "") -> Digest:
    """The artefact that `NAME[:VERSION]` or a digest (at least 8 hex digits) means.

    `part` picks the one artefact of that kind in its lineage. Raises `NotFound`, or `InvalidInput` if several fit.
    """
    if _DIGEST.fullmatch(reference):
        return _one([d for d in sorted(facts.kinds) if d.startswith(reference)], facts, f"digest {reference!r}")
    subject = catalogue.version(Reference.parse(reference)).subject
    if not part:
        return subject
    wide = Policy.default().with_stances(training_data="attribute", heads="inherit")
    found = {step.reach.digest for step in walk(facts, subject, wide) if facts.kinds[step.reach.digest] == part}
    return _one(sorted(found), facts, f"a {part} in the lineage of {reference!r}")


def _one(found: list[str], facts: Facts, what: str) -> Digest:
    if not found:
        raise NotFound(f"there is no {what}" if not what.startswith("a ") else f"there is not {what}")
    if len(found) > 1:
        listed = ", ".join(f"{facts.label(digest)} sha256:{short(digest)}" for digest in found[:5])
        raise InvalidInput(f"{what} may be one of {listed}", fix=f"name it: sha256:{short(found[0])}")
    return Digest(found[0])
