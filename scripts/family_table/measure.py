"""Takes one tiny checkpoint through everything: pull, a few training steps of every head, a server, two clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import tritonclient.grpc as triton
from family_table.made_data import ASKED, samples, write_table
from family_table.pairs import Fit, fit, head_types

from headstock import postprocess
from headstock.backbone.pull import pull
from headstock.catalogue import Catalogue
from headstock.data import read_table
from headstock.finetune import Options, fine_tune, plan_recipe
from headstock.graph import Graph
from headstock.hookspecs import HeadType
from headstock.names import Reference
from headstock.plugin_host import PluginHost
from headstock.preprocess.reading import read_rows
from headstock.records import Certificate, Version
from headstock.servable import ServableModel, load_linear, load_model
from headstock.settings import Settings
from headstock.sources import fetch
from headstock.testing.cases import FamilyCase
from headstock_client import Client
from headstock_server.app import ServeOptions
from headstock_server.engine import EngineOptions
from headstock_server.testing import background_server

Array = npt.NDArray[Any]
Answers = Mapping[str, Array]

EPOCHS = 3
# Passes without regard to padding: rows of all lengths keep each other company.
_SERVER = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=1 << 16, padding_waste=1.0))


@dataclass(frozen=True, slots=True)
class Measured:
    """One pair, or why it is none. Figures are largest absolute differences."""

    head: str
    fit: Fit
    graph: float = 0.0
    """Exported graph against the torch module, over all taps, on the samples of a pull."""
    form: float = 0.0
    """Exported head against the trained one, relative to the size of its outputs where that is above 1."""
    served: float = 0.0
    """A server's answers against torch's features of each sample by itself under the exported head, relative likewise."""
    together: float = 0.0
    """A sample alone and in company: of the isolation certificate, and of the server's answers."""
    clients: float = 0.0
    """headstock_client against tritonclient."""


def measure(host: PluginHost, case: FamilyCase, folder: Path) -> list[Measured]:
    """Every head type of the family's modality on this checkpoint; works in the empty folder `folder`."""
    case.files(folder / "checkpoint")
    settings = Settings.from_environment({"HEADSTOCK_HOME": str(folder / "home")})
    with Catalogue.open(settings) as catalogue:
        backbone = pull(catalogue, host, f"path:{folder / 'checkpoint'}", "backbone")
        family = host.family(case.family)
        if backbone.details["family"] != family.name:
            raise SystemExit(f"error: the checkpoint of {family.name!r} was read as {backbone.details['family']!r}")
        module = family.load(fetch(f"path:{folder / 'checkpoint'}", folder / "fetched").files)
        fits = {head: fit(head, family.taps(module)) for head in head_types(host, family.modality)}
        chosen = [head for head, found in fits.items() if found.tap is not None]
        columns = _columns(catalogue, backbone)
        models = {
            head: _adapted(catalogue, host, head, write_table(head, folder / "data", columns))
            for head in chosen
        }
        asked = {head: samples(head, columns) for head in chosen}
        with background_server(settings, _SERVER) as server:
            answered = {head: _ask(server.address, head, asked[head]) for head in chosen}
        found = []
        for head, fitting in fits.items():
            if fitting.tap is None:
                found.append(Measured(head.name, fitting))
                continue
            model = load_model(catalogue, models[head])
            together, alone, by_triton = answered[head]
            found.append(
                Measured(
                    head.name,
                    fitting,
                    graph=max(tap["max_error"] for tap in backbone.details["parity"].values()),
                    form=_report(catalogue, models[head])["parity"],
                    served=_distance(together, _torch_answers(module, model, list(asked[head].values()))),
                    together=max(_certified(model.backbone.certificate), _company(together, alone)),
                    clients=_equality(together, by_triton),
                )
            )
        return found


def _columns(catalogue: Catalogue, backbone: Version) -> list[str]:
    """The columns that a table's backbone reads; none of other backbones."""
    spec = catalogue.store.read_json(catalogue.artefact(backbone.subject).files["preprocess"])
    return [column["name"] for column in spec["options"].get("columns", ())]


def _adapted(catalogue: Catalogue, host: PluginHost, head: HeadType, data: Path) -> Version:
    table = read_table(data)
    recipe = plan_recipe(catalogue, host, table, Reference("backbone"), head.name, Options(epochs=EPOCHS))
    return fine_tune(catalogue, host, recipe, table, head.name).version


def _report(catalogue: Catalogue, version: Version) -> Mapping[str, Any]:
    report: Mapping[str, Any] = catalogue.store.read_json(catalogue.artefact(version.subject).files["report"])
    return report


def _ask(address: str, head: HeadType, raw: Mapping[str, list[bytes]]) -> tuple[Answers, list[Answers], Answers]:
    """Answers to all samples in one request, to one after the other, and to tritonclient."""
    with Client(address, deadline=30) as client:
        together = client.infer(head.name, raw).outputs
        alone = [client.infer(head.name, {n: [v[i]] for n, v in raw.items()}).outputs for i in range(ASKED)]
    other = triton.InferenceServerClient(address)
    try:
        inputs = [triton.InferInput(name, [ASKED], "BYTES") for name in raw]
        for tensor, values in zip(inputs, raw.values(), strict=True):
            tensor.set_data_from_numpy(np.array(values, dtype=object))
        result = other.infer(head.name, inputs)
        by_triton = {tensor.name: result.as_numpy(tensor.name) for tensor in result.get_response().outputs}
    finally:
        other.close()
    return together, alone, by_triton


def _torch_answers(module: torch.nn.Module, model: ServableModel, raw: Sequence[Sequence[bytes]]) -> Answers:
    """The same answers without a server: each sample by itself through the torch module, then the exported head."""
    spec, tap = model.head.postprocess, model.backbone.identity.tap(model.head.tap)
    preprocessor = model.backbone.open_preprocessor()
    rows = read_rows(preprocessor, postprocess.reads(spec), raw)
    outputs = []
    for row in rows:
        inputs = {name: torch.from_numpy(tensor) for name, tensor in preprocessor.collate([row]).items()}
        with torch.inference_mode():
            features = module(**inputs)[tap.name][0].numpy()
        outputs.append(_head_outputs(model, features[: tap.positions(row.steps)] if tap.ragged else features))
    contexts = None if postprocess.reads(spec) == "any" else [row.extra for row in rows]
    stacked = outputs if postprocess.per_position(spec) else np.stack(outputs)
    return postprocess.apply(spec, stacked, contexts)


def _head_outputs(model: ServableModel, features: Array) -> Array:
    if model.head.form == "linear":
        weight, bias = load_linear(model.parameters)
        linear: Array = features @ weight + bias
        return linear
    graph = Graph(model.parameters)
    return graph.run({graph.inputs[0]: features[None]}, graph.outputs)[0][0]


def _certified(certificate: Certificate | None) -> float:
    if certificate is None or not certificate.shared:
        return float("inf")
    return certificate.measured


def _distance(one: Answers, other: Answers) -> float:
    """Over what is a number; texts follow from the numbers, and a hair's breadth may tip them."""
    return max(
        _relative(one[name], value) if one[name].shape == value.shape else float("inf")
        for name, value in other.items()
        if value.dtype.kind == "f"
    )


def _relative(one: Array, other: Array) -> float:
    scale = max(1.0, float(np.abs(other).max(initial=0.0)))
    return float(np.abs(one - other).max(initial=0.0)) / scale


def _company(together: Answers, alone: Sequence[Answers]) -> float:
    """0 if every sample's own part of an answer has the same bits."""
    for index, answers in enumerate(alone):
        for name, value in answers.items():
            own = together[name][index][tuple(slice(0, size) for size in value[0].shape)] if value.ndim > 1 else (
                together[name][index]
            )
            if np.asarray(own).tolist() != np.asarray(value[0]).tolist():
                return float("inf") if value.dtype.kind != "f" else float(np.abs(own - value[0]).max())
    return 0.0


def _equality(one: Answers, other: Answers) -> float:
    """0 if all outputs have the same names, shapes, types and bits."""
    if list(one) != list(other):
        return float("inf")
    same = all(
        one[name].shape == other[name].shape
        and one[name].dtype == other[name].dtype
        and (
            one[name].tolist() == other[name].tolist()
            if one[name].dtype == object
            else one[name].tobytes() == other[name].tobytes()
        )
        for name in one
    )
    return 0.0 if same else float("inf")
