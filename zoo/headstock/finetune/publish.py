"""From a trained head to a version in the catalogue: checked against the served form first, written in one go."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstock import postprocess
from headstock.digest import Digest
from headstock.errors import FailedPrecondition, Unsupported
from headstock.finetune.recipe import Recipe
from headstock.finetune.values import Values, flat, width_of
from headstock.hookspecs import HeadType, LinearForm
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
    import torch

    from headstock.catalogue import Catalogue
    from headstock.finetune.new_backbone import NewBackbone
    from headstock.plugin_host import PluginHost

TOLERANCE = 1e-5
"""Largest difference between the trained head and its served form, relative to the largest output above 1."""


Origin = Callable[[Digest, Digest | None], Sequence[Edge]]
"""Lineage of a head and of the adapter it was trained under, besides backbone, data and plugin."""


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """A head as the server will run it."""

    form: LinearForm | bytes
    """Weights to stack, or an ONNX file."""
    width: int
    """Features in."""
    out: int
    """Values per row, or per position."""
    spec: Mapping[str, Any]
    """Postprocessing."""
    parity: float
    """Largest difference from the torch head on the run's own features."""


def served_form(
    head_type: HeadType, head: torch.nn.Module, spec: Mapping[str, Any], features: Sequence[Values]
) -> TrainedHead:
    """The head in the form that a server runs, compared with torch on real `features`, of which there are some rows.

    Raises `FailedPrecondition` if the two disagree: such a head would be served wrong.
    """
    from headstock.finetune.loop import outputs_of

    form = head_type.linear_form(head) or head_type.graph_form(head)
    if form is None:
        raise Unsupported(
            f"head type {head_type.name!r} has neither a linear form nor a graph form, so no server could run it",
            fix="report this to the head type's author: one of linear_form and graph_form must give something",
        )
    expected = [outputs_of(head, part) for part in features]
    parity = max(_parity(spec, _served(form, part), one) for part, one in zip(features, expected, strict=True))
    if not parity <= TOLERANCE:
        raise FailedPrecondition(
            f"the served form of this {head_type.name!r} head differs from the trained one by {parity:.3g} "
            f"(allowed {TOLERANCE:g}); it is not published",
            fix="report this to the head type's author: its served form does not equal its forward",
        )
    out = math.prod(expected[0][0].shape[1 if head_type.per_position else 0 :])
    return TrainedHead(form, width_of(features[0]), out, spec, parity)


def _served(form: LinearForm | bytes, features: Values) -> Values:
    """What a server makes of features."""
    if isinstance(form, LinearForm):
        if isinstance(features, list):
            return [row @ form.weight + form.bias for row in features]
        product: Values = features @ form.weight + form.bias
        return product
    from headstock.graph import Graph

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "head.onnx"
        path.write_bytes(form)
        graph = Graph(path)
        rows = [graph.run({graph.inputs[0]: row[None]}, graph.outputs)[0][0] for row in features]
    return rows if isinstance(features, list) else np.stack(rows)


def _parity(spec: Mapping[str, Any], served: Values, trained: Values) -> float:
    """Largest difference over the answers; over raw outputs where answers are made of single positions."""
    if postprocess.per_position(spec):
        return _difference(flat(served), flat(trained))
    answered = postprocess.apply(spec, served)
    expected = postprocess.apply(spec, trained)
    return max(_difference(answered[name], value) for name, value in expected.items() if value.dtype.kind == "f")


def publish(
    catalogue: Catalogue,
    host: PluginHost,
    name: str,
    recipe: Recipe,
    trained: TrainedHead,
    dataset: Artefact,
    report: Mapping[str, Any],
    details: Mapping[str, Any],
    evidence: Sequence[Evidence] = (),
    new_backbone: NewBackbone | None = None,
    adapter: Artefact | None = None,
    origin: Origin | None = None,
) -> tuple[Version, Digest]:
    """Store the head and add a version of `name`; returns it with the head's digest.

    `new_backbone` is what the head stands on where the run changed the recipe's backbone, `adapter` what it needs
    where the run added to it, `origin` says which models it was made from.
    """
    with catalogue.writing(f"fine-tune {name}"):
        store = catalogue.store
        form = trained.form
        parameters = store.put_bytes(form if isinstance(form, bytes) else parameter_bytes(form))
        backbone = Digest(recipe.backbone.digest) if new_backbone is None else new_backbone.digest
        under = None if adapter is None else adapter.digest
        identity = _identity(recipe, trained, backbone, under, parameters)
        head = artefact_of("head", identity.to_json(), {"parameters": parameters})
        model = artefact_of(
            "model",
            ModelIdentity(backbone, head.digest, under).to_json(),
            {"recipe": store.put_json(recipe.to_json()), "report": store.put_json(dict(report))},
        )
        plugin = _plugin(host, recipe.head.type)
        changed = [new_backbone.admitted.artefact] if new_backbone else [adapter] if adapter else []
        version = catalogue.publish(
            Publication(
                name=name,
                kind="model",
                subject=model.digest,
                artefacts=(*changed, head, dataset, plugin, model),
                edges=(
                    Edge(head.digest, "head_on", backbone),
                    Edge(head.digest, "trained_on", dataset.digest),
                    Edge(head.digest, "built_by_plugin", plugin.digest),
                    *(new_backbone.edges(dataset.digest, recipe.strategy.initial) if new_backbone else ()),
                    *(_adapter_edges(catalogue, adapter, backbone, dataset) if adapter else ()),
                    *(origin(head.digest, under) if origin else ()),
                ),
                evidence=[*evidence, *code_evidence(plugin), *([new_backbone.evidence()] if new_backbone else [])],
                certificates=new_backbone.certificates if new_backbone else [],
                details={**details, "head": head.digest},
            )
        )
    return version, head.digest


def parameter_bytes(form: LinearForm) -> bytes:
    """The parameter file: safetensors with `weight` and `bias`, equal bytes for equal weights."""
    from safetensors.numpy import save

    return save({
        "weight": np.ascontiguousarray(form.weight, np.float32),
        "bias": np.ascontiguousarray(form.bias, np.float32),
    })  # fmt: skip


def _adapter_edges(catalogue: Catalogue, adapter: Artefact, backbone: Digest, dataset: Artefact) -> list[Edge]:
    if catalogue.edges(child=adapter.digest):
        # A head that went on under an adapter that did not: this data has taught the adapter nothing.
        return []
    return [Edge(adapter.digest, "adapter_of", backbone), Edge(adapter.digest, "trained_on", dataset.digest)]


def _identity(
    recipe: Recipe, trained: TrainedHead, backbone: Digest, adapter: Digest | None, parameters: Digest
) -> HeadIdentity:
    return HeadIdentity(
        type=recipe.head.type,
        backbone=backbone,
        tap=recipe.head.tap,
        form="graph" if isinstance(trained.form, bytes) else "linear",
        parameters=parameters,
        width=trained.width,
        out=trained.out,
        postprocess=trained.spec,
        adapter=adapter,
    )


def _plugin(host: PluginHost, head_type: str) -> Artefact:
    manifest = host.plugin_of_head(head_type)
    identity = {"kind": "plugin", "distribution": manifest.distribution, "version": manifest.version}
    return artefact_of("plugin", identity)


def _difference(answered: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    scale = max(1.0, float(np.abs(expected).max()))
    return float(np.abs(answered - expected).max()) / scale
