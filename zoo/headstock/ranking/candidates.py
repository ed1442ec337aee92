"""Candidates: the catalogue's backbones that a head type could stand on, and why others could not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headstock.data.roles import require_modality
from headstock.digest import Digest
from headstock.errors import FailedPrecondition, HeadstockError, InvalidInput
from headstock.finetune.taps import default_tap
from headstock.hookspecs import HeadType
from headstock.licences.composition import Verdict
from headstock.licences.context import Context
from headstock.licences.gate import verdicts
from headstock.licences.policy import Policy
from headstock.names import Reference
from headstock.records import Tap, Version
from headstock.servable import ServableBackbone, load_backbone

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backbone that fits."""

    version: Version
    backbone: ServableBackbone
    tap: Tap
    parameters: int
    licence: Verdict


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A backbone that was not ranked."""

    name: str
    reason: str


def find_candidates(
    catalogue: Catalogue, head_type: HeadType, names: Sequence[str], purpose: str | None
) -> tuple[list[Candidate], list[LeftOut]]:
    """Backbones called `names`, or the newest version of each in the catalogue, that `head_type` can stand on.

    With `purpose` only those whose licences allow it. A named one that does not fit raises `InvalidInput`; so does a
    catalogue where none is left, saying why.
    """
    versions = _versions(catalogue, names)
    found: list[Candidate] = []
    left: list[LeftOut] = []
    policy = Policy.load(catalogue.settings)
    context = Context.from_mapping({"purpose": purpose}, policy.context) if purpose else policy.context
    judged = verdicts(catalogue, [version.subject for version in versions], context, policy)
    for version in versions:
        licence = judged[version.subject]
        if purpose and licence.value != "allow":
            left.append(LeftOut(version.name, f"licence for {purpose} use is {licence.value}: {licence.reason}"))
            continue
        try:
            found.append(_candidate(catalogue, head_type, version, licence))
        except HeadstockError as error:
            if names:
                raise
            left.append(LeftOut(version.name, error.message))
    if not found:
        why = "; ".join(f"{one.name}: {one.reason}" for one in left) or "the catalogue has no backbone"
        raise InvalidInput(
            f"no backbone fits head type {head_type.name!r}: {why}", fix="headstock pull SOURCE --name NAME"
        )
    return found, left


def _versions(catalogue: Catalogue, names: Sequence[str]) -> list[Version]:
    chosen = [Reference.parse(name) for name in dict.fromkeys(names)] or [
        Reference(name) for name in catalogue.names("backbone")
    ]
    versions = [catalogue.version(reference) for reference in chosen]
    for version in versions:
        if version.kind != "backbone":
            raise InvalidInput(f"{version} is a model; backbones are ranked", fix="headstock list --kind backbone")
    # Two names of one backbone would tie with themselves.
    return list({version.subject: version for version in reversed(versions)}.values())[::-1]


def _candidate(catalogue: Catalogue, head_type: HeadType, version: Version, licence: Verdict) -> Candidate:
    backbone = load_backbone(catalogue, version.subject)
    require_modality(head_type, backbone.spec.kind, version.name)
    tap = backbone.identity.tap(default_tap(head_type, backbone.identity.taps))
    if tap.ragged or len(tap.shape) != 2:
        raise FailedPrecondition(f"tap {tap.name!r} has shape {list(tap.shape)}, not one vector per row")
    return Candidate(version, backbone, tap, count_parameters(catalogue, version.subject), licence)


def count_parameters(catalogue: Catalogue, backbone: Digest) -> int:
    """Numbers in a backbone's weight file, buffers included."""
    import math

    from safetensors import safe_open

    path = catalogue.store.path(catalogue.artefact(backbone).files["weights"])
    with safe_open(path, "numpy") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 - no mapping
