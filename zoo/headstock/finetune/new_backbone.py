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
from headstock.records import FROM_RANDOM, Certificate, Edge, Evidence
from headstock.servable import ServableBackbone
from headstock.stem.make import last_frozen, make_cut
from headstock.stem.record import CUT_ROLES

if TYPE_CHECKING:
    from pathlib import Path

    from headstock.catalogue import Catalogue

# Made for the parent alone; a backbone's own are made anew. Documents speak of what was pulled and stay with it.
_LEFT = (
    "graph", "weights", "preprocess", "certificate", "licence", "model-licence", "use-policy", "notice", "card",
    "recipe", "report", *CUT_ROLES,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class NewBackbone:
    """Blobs in the store and proofs made; published together with the model that stands on it."""

    admitted: Admitted
    servable: ServableBackbone
    parent: Digest
    frozen: str = ""
    """The last layer group, counted from the input, of those that hold the parent's own weights; empty if none do."""

    @property
    def digest(self) -> Digest:
        """Names it."""
        return self.admitted.artefact.digest

    @property
    def certificates(self) -> list[Certificate]:
        """Its isolation certificates, one for each execution provider of this machine."""
        return [self.admitted.certificate, *self.admitted.elsewhere]

    def edges(self, dataset: Digest, initial: str) -> list[Edge]:
        """Where it comes from. From random weights it takes the architecture alone, and still says so."""
        kept = f"the parent's own weights up to layer group {self.frozen!r}" if self.frozen else ""
        note = kept if initial == "pretrained" else FROM_RANDOM
        return [Edge(self.digest, "finetuned_from", self.parent, note), Edge(self.digest, "trained_on", dataset)]

    def evidence(self) -> Evidence:
        """That these weights were made here, so that their terms are those of what they were made from."""
        return Evidence(self.digest, MADE_HERE, "true", "fine-tune", "fine-tune")


def is_changed(restored: Restored) -> bool:
    """False where the best weights of a run are those that it began with: then the model shares its backbone."""
    from headstock.backbone.identity import weights_digest

    return weights_digest(restored.module) != restored.identity.weights


def group_digests(restored: Restored) -> dict[str, Digest]:
    """What each layer group holds."""
    from headstock.backbone.identity import state_digest

    state = restored.module.state_dict()
    return {g.name: state_digest({n: t for n, t in state.items() if n.startswith(g.prefixes)}) for g in restored.groups}


def admit(
    catalogue: Catalogue,
    parent: ServableBackbone,
    restored: Restored,
    before: Mapping[str, Digest],
    progress: Progress,
    architecture: Mapping[str, Any] | None = None,
) -> NewBackbone:
    """Store the changed module as a backbone of its own; raises as `headstock.backbone.prepare.prepare` does.

    `before` are the `group_digests` that it began with: where the lowest groups are still those, it is cut into the
    stem that it shares with its parent and an upper part, if that can be proven to change nothing. Its architecture is
    the parent's as the family sees it with other weights, unless `architecture` says better.
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
        frozen = last_frozen(restored.groups, before, group_digests(restored))
        if frozen and admitted.certificate.shared:
            progress("cutting off what it shares with its parent")
            found = make_cut(catalogue.store, parent, identity, folder / "graph.onnx", frozen, folder)
            files = {**admitted.artefact.files, **(found[1] if found else {})}
            admitted = replace(admitted, artefact=replace(admitted.artefact, files=files))
    blobs = admitted.artefact.files
    paths = {"graph": catalogue.store.path(blobs["graph"])}
    paths |= {role: catalogue.store.path(blob) for role, blob in spec.files.items()}
    servable = ServableBackbone(admitted.artefact.digest, identity, spec, paths, admitted.certificate)
    return NewBackbone(admitted, servable, parent.digest, frozen)


def _kept(files: Mapping[str, Digest]) -> dict[str, Digest]:
    kept = {role: blob for role, blob in files.items() if role not in _LEFT}
    return {**kept, ORIGIN: files.get(ORIGIN) or files["weights"]}


def _at(catalogue: Catalogue, blob: Digest, folder: Path, role: str) -> Path:
    # The store admits by content and by name; a blob's own path says nothing of what it is.
    path = folder / (f"{role}.safetensors" if role == ORIGIN else role)
    shutil.copyfile(catalogue.store.path(blob), path)
    return path
