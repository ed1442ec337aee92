"""From a trained head to a version in the catalogue: checked against the served form first, written in one go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstock import postprocess
from headstock.digest import Digest
from headstock.errors import FailedPrecondition, Unsupported
from headstock.finetune.recipe import Recipe
from headstock.hookspecs import HeadType, LinearForm
from headstock.records import (
    Artefact,
    Edge,
    HeadIdentity,
    ModelIdentity,
    Publication,
    Version,
    artefact_of,
)

if TYPE_CHECKING:
    import torch

    from headstock.catalogue import Catalogue
    from headstock.plugin_host import PluginHost

Floats = npt.NDArray[np.float32]

TOLERANCE = 1e-5
"""Largest difference between the trained head and its served form, relative to the largest output above 1."""


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """A head as the server will run it."""

    form: LinearForm
    spec: Mapping[str, Any]
    """Postprocessing."""
    parity: float
    """Largest difference from the torch head over all answers on the run's own features."""


def served_form(head_type: HeadType, head: torch.nn.Module, spec: Mapping[str, Any], features: Floats) -> TrainedHead:
    """The head in the form that a server stacks, compared with torch on real `features` [n, width].

    Raises `FailedPrecondition` if the two disagree: such a head would be served wrong.
    """
    from headstock.finetune.loop import outputs_of

    form = head_type.linear_form(head)
    if form is None:
        raise Unsupported(f"head type {head_type.name!r} has no linear form; this version publishes linear heads only")
    expected = postprocess.apply(spec, outputs_of(head, features))
    answered = postprocess.apply(spec, features @ form.weight + form.bias)
    parity = max(_difference(answered[name], value) for name, value in expected.items() if value.dtype.kind == "f")
    if not parity <= TOLERANCE:
        raise FailedPrecondition(
            f"the served form of this {head_type.name!r} head differs from the trained one by {parity:.3g} "
            f"(allowed {TOLERANCE:g}); it is not published",
            fix="report this to the head type's author: its linear_form does not equal its forward",
        )
    return TrainedHead(form, spec, parity)


def publish(
    catalogue: Catalogue,
    host: PluginHost,
    name: str,
    recipe: Recipe,
    trained: TrainedHead,
    dataset: Artefact,
    report: Mapping[str, Any],
    details: Mapping[str, Any],
) -> tuple[Version, Digest]:
    """Store the head and add a version of `name`; returns it with the head's digest."""
    with catalogue.writing(f"fine-tune {name}"):
        store = catalogue.store
        parameters = store.put_bytes(parameter_bytes(trained.form))
        head = artefact_of("head", _identity(recipe, trained, parameters).to_json(), {"parameters": parameters})
        backbone = Digest(recipe.backbone.digest)
        model = artefact_of(
            "model",
            ModelIdentity(backbone, head.digest).to_json(),
            {"recipe": store.put_json(recipe.to_json()), "report": store.put_json(dict(report))},
        )
        plugin = _plugin(host, recipe.head.type)
        version = catalogue.publish(
            Publication(
                name=name,
                kind="model",
                subject=model.digest,
                artefacts=(head, dataset, plugin, model),
                edges=(
                    Edge(head.digest, "head_on", backbone),
                    Edge(head.digest, "trained_on", dataset.digest),
                    Edge(head.digest, "built_by_plugin", plugin.digest),
                ),
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


def _identity(recipe: Recipe, trained: TrainedHead, parameters: Digest) -> HeadIdentity:
    width, out = trained.form.weight.shape
    return HeadIdentity(
        type=recipe.head.type,
        backbone=Digest(recipe.backbone.digest),
        tap=recipe.head.tap,
        form="linear",
        parameters=parameters,
        width=width,
        out=out,
        postprocess=trained.spec,
    )


def _plugin(host: PluginHost, head_type: str) -> Artefact:
    manifest = host.plugin_of_head(head_type)
    identity = {"kind": "plugin", "distribution": manifest.distribution, "version": manifest.version}
    return artefact_of("plugin", identity)


def _difference(answered: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    scale = max(1.0, float(np.abs(expected).max()))
    return float(np.abs(answered - expected).max()) / scale
