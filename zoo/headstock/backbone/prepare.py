"""From a loaded module to everything that the catalogue keeps of a backbone: graph, proofs, blobs, artefact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headstock.backbone.export import admit_graph, export_graph
from headstock.backbone.isolation import certify
from headstock.backbone.on_device import certify_elsewhere
from headstock.backbone.parity import TapParity, measure_parity, require_parity
from headstock.backbone.samples import samples_for
from headstock.digest import Digest
from headstock.graph import Graph
from headstock.preprocess import PreprocessSpec, open_preprocessor
from headstock.records import Artefact, BackboneIdentity, Certificate, artefact_of

if TYPE_CHECKING:
    import torch

    from headstock.store import BlobStore

Progress = Callable[[str], None]
"""Told of each step in a few words before it starts."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A backbone whose blobs are in the store and whose proofs are made; nothing is published yet."""

    artefact: Artefact
    certificate: Certificate
    """On the CPU."""
    parity: Mapping[str, TapParity]
    elsewhere: tuple[Certificate, ...] = ()
    """On other execution providers that this machine has."""


def prepare(
    store: BlobStore,
    module: torch.nn.Module,
    identity: BackboneIdentity,
    spec: PreprocessSpec,
    files: Mapping[str, Path],
    scratch: Path,
    progress: Progress,
) -> Prepared:
    """Export the module, check the graph against torch and alone against together, and store its files.

    `files` are the blobs to keep by role; `scratch` is a folder for the graph until it is stored. Raises
    `FailedPrecondition` when the graph is not admitted or disagrees with torch: then nothing was stored.
    """
    preprocessor = open_preprocessor(spec, {role: files[role] for role in spec.files})
    samples = samples_for(preprocessor)
    path = scratch / "graph.onnx"
    progress("exporting to ONNX")
    export_graph(module, identity.inputs, identity.taps, preprocessor.collate(samples.ordinary[1:4]), path)
    admit_graph(path, identity.inputs, identity.taps)
    progress("checking the graph against torch")
    graph = Graph(path)
    parity = measure_parity(module, graph, preprocessor, samples, identity.taps)
    require_parity(parity)
    progress("checking that a row alone equals the row in company")
    certificate = certify(graph, identity, preprocessor, samples)
    shown = {name: asdict(found) for name, found in parity.items()}
    certificate = Certificate(**{**asdict(certificate), "detail": {**certificate.detail, "parity": shown}})
    elsewhere = certify_elsewhere(path, graph, identity, preprocessor, samples, progress)
    progress("storing")
    blobs: dict[str, Digest] = {role: store.put_file(file) for role, file in files.items()}
    blobs["graph"] = store.put_file(path)
    blobs["preprocess"] = store.put_json(spec.to_json())
    blobs["certificate"] = store.put_json(asdict(certificate))
    return Prepared(artefact_of("backbone", identity.to_json(), blobs), certificate, parity, elsewhere)
