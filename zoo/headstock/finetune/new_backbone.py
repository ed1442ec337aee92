"""A backbone that a run has changed: exported, checked against torch and certified, as a pulled one is."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from headstock.backbone.prepare import Prepared as Admitted
from headstock.backbone.prepare import Progress, prepare
from headstock.backbone.restore import ORIGIN, Restored
from headstock.backbone.workdir import workdir
from headstock.checkpoint import WEIGHTS
from headstock.digest import Digest
from headstock.licences.facts import MADE_HERE
from headstock.preprocess import PreprocessSpec
from headstock.records import Certificate, Edge, Evidence
from headstock.servable import ServableBackbone

if TYPE_CHECKING:
    from pathlib import Path

    from headstock.catalogue import Catalogue

# Made for the parent alone; a backbone's own are made anew. Documents speak of what was pulled and stay with it.
_LEFT = ("graph", "weights", "preprocess", "certificate", "licence", "card", "recipe", "report")


@dataclass(frozen=True, slots=True)
class NewBackbone:
    """Blobs in the store and proofs made; published together with the model that stands on it."""

    admitted: Admitted
    servable: ServableBackbone
    parent: Digest

    @property
    def digest(self) -> Digest:
        """Names it."""
        return self.admitted.artefact.digest

    @property
    def certificate(self) -> Certificate:
        """Its isolation certificate."""
        return self.admitted.certificate

    def edges(self, dataset: Digest, initial: str) -> list[Edge]:
        """Where it comes from. From random weights it takes the architecture alone, and still says so."""
        note = "" if initial == "pretrained" else "architecture and preprocessing only: trained from random weights"
        return [Edge(self.digest, "finetuned_from", self.parent, note), Edge(self.digest, "trained_on", dataset)]

    def evidence(self) -> Evidence:
        """That these weights were made here, so that their terms are those of what they were made from."""
        return Evidence(self.digest, MADE_HERE, "true", "fine-tune", "fine-tune")


def is_changed(restored: Restored) -> bool:
    """False where the best weights of a run are those that it began with: then the model shares its backbone."""
    from headstock.backbone.identity import weights_digest

    return weights_digest(restored.module) != restored.identity.weights


def admit(
    catalogue: Catalogue,
    parent: ServableBackbone,
    restored: Restored,
    progress: Progress,
    architecture: Mapping[str, Any] | None = None,
) -> NewBackbone:
    """Store the changed module as a backbone of its own; raises as `headstock.backbone.prepare.prepare` does.

    Its architecture is the parent's as the family sees it with other weights, unless `architecture` says better.
    """
    from safetensors.torch import save_file

    from headstock.backbone.identity import weights_digest

    module = restored.module.eval().requires_grad_(False)
    weights = weights_digest(module)
    if architecture is None:
        architecture = restored.identity.architecture
        architecture = restored.family.retrained(architecture, weights) if restored.family else architecture
    identity = replace(restored.identity, weights=weights, architecture=dict(architecture))
    files = catalogue.artefact(parent.digest).files
    with workdir(catalogue.settings.cache / "fine-tune") as folder:
        # Copies: tied tensors share memory, which the format refuses.
        save_file({n: t.detach().clone().contiguous() for n, t in module.state_dict().items()}, folder / WEIGHTS)
        roles = {role: _at(catalogue, blob, folder, role) for role, blob in _kept(files).items()}
        spec: PreprocessSpec = parent.spec
        admitted = prepare(
            catalogue.store, module, identity, spec, {**roles, "weights": folder / WEIGHTS}, folder, progress
        )
    blobs = admitted.artefact.files
    paths = {"graph": catalogue.store.path(blobs["graph"])}
    paths |= {role: catalogue.store.path(blob) for role, blob in spec.files.items()}
    servable = ServableBackbone(admitted.artefact.digest, identity, spec, paths, admitted.certificate)
    return NewBackbone(admitted, servable, parent.digest)


def _kept(files: Mapping[str, Digest]) -> dict[str, Digest]:
    kept = {role: blob for role, blob in files.items() if role not in _LEFT}
    return {**kept, ORIGIN: files.get(ORIGIN) or files["weights"]}


def _at(catalogue: Catalogue, blob: Digest, folder: Path, role: str) -> Path:
    # The store admits by content and by name; a blob's own path says nothing of what it is.
    path = folder / (f"{role}.safetensors" if role == ORIGIN else role)
    shutil.copyfile(catalogue.store.path(blob), path)
    return path
