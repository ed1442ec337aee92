"""An adapted head as a version of the catalogue: compared with its served form first, written in one go."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstock.adaptation.network import AdaptedHead
from headstock.adaptation.training import logits_of
from headstock.digest import Digest
from headstock.errors import FailedPrecondition
from headstock.finetune.publish import TOLERANCE
from headstock.finetune.recipe import Recipe
from headstock.records import (
    Artefact,
    Edge,
    Evidence,
    HeadIdentity,
    ModelIdentity,
    Publication,
    Version,
    artefact_of,
)
from headstock.sources.plugin_code import code_evidence

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.plugin_host import PluginHost


@dataclass(frozen=True, slots=True)
class AdaptedModel:
    """What is published."""

    type: str
    """Head type."""
    backbone: Digest
    tap: str
    head: AdaptedHead
    spec: Mapping[str, Any]
    """Postprocessing."""
    report: Mapping[str, Any]
    details: Mapping[str, Any]
    recipe: Recipe


def served_graph(head: AdaptedHead, features: npt.NDArray[np.float32]) -> tuple[bytes, float]:
    """The head's ONNX file and its largest difference from torch on `features` [n, width], relative above 1.

    Raises `FailedPrecondition` if the two disagree.
    """
    from headstock.graph import Graph

    data = head.graph()
    expected = logits_of(head, features)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "head.onnx"
        path.write_bytes(data)
        graph = Graph(path)
        (served,) = graph.run({graph.inputs[0]: features}, graph.outputs)
    parity = float(np.abs(served - expected).max()) / max(1.0, float(np.abs(expected).max()))
    if not parity <= TOLERANCE:
        raise FailedPrecondition(
            f"the served form of the adapted head differs from the trained one by {parity:.3g} "
            f"(allowed {TOLERANCE:g}); it is not published"
        )
    return data, parity


def publish_adapted(
    catalogue: Catalogue,
    host: PluginHost,
    name: str,
    model: AdaptedModel,
    graph: bytes,
    data_sets: Sequence[Artefact],
    evidence: Sequence[Evidence],
) -> Version:
    """Store the head and add a version of `name`, with an edge `trained_on` each of `data_sets`."""
    manifest = host.plugin_of_head(model.type)
    plugin = artefact_of(
        "plugin", {"kind": "plugin", "distribution": manifest.distribution, "version": manifest.version}
    )
    with catalogue.writing(f"adapt {name}"):
        parameters = catalogue.store.put_bytes(graph)
        identity = HeadIdentity(
            type=model.type,
            backbone=model.backbone,
            tap=model.tap,
            form="graph",
            parameters=parameters,
            width=len(model.head.mean),
            out=model.head.classifier.out_features,
            postprocess=model.spec,
        )
        head = artefact_of("head", identity.to_json(), {"parameters": parameters})
        subject = artefact_of(
            "model",
            ModelIdentity(model.backbone, head.digest).to_json(),
            {
                "recipe": catalogue.store.put_json(model.recipe.to_json()),
                "report": catalogue.store.put_json(dict(model.report)),
            },
        )
        distinct = {artefact.digest: artefact for artefact in data_sets}
        return catalogue.publish(
            Publication(
                name=name,
                kind="model",
                subject=subject.digest,
                artefacts=(head, *distinct.values(), plugin, subject),
                edges=(
                    Edge(head.digest, "head_on", model.backbone),
                    *(Edge(head.digest, "trained_on", digest) for digest in distinct),
                    Edge(head.digest, "built_by_plugin", plugin.digest),
                ),
                evidence=(*evidence, *code_evidence(plugin)),
                details={**model.details, "head": head.digest},
            )
        )
