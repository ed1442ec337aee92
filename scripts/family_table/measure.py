"""Takes one tiny checkpoint through everything: pull, a few training steps of every head, a server, two clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tritonclient.grpc as triton

from family_table.compare import DIFFERENT, Answers, Array, company, distance, equality
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
from headstock.records import Version
from headstock.servable import ServableModel, load_linear, load_model
from headstock.settings import Settings
from headstock.sources import fetch
from headstock.testing.cases import FamilyCase
from headstock_client import Client
from headstock_server.app import ServeOptions
from headstock_server.engine import EngineOptions
from headstock_server.testing import background_server

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
    """A server's answers against torch on each sample by itself under the exported head, relative likewise."""
    company: float = 0.0
    """A sample alone and in company: of the isolation certificate, and of the server's answers."""
    clients: float = 0.0
    """headstock_client against tritonclient."""


def measure(host: PluginHost, case: FamilyCase, folder: Path) -> list[Measured]:
    """Every head type of the family's modality on this checkpoint; works in the empty folder `folder`."""
    case.files(folder / "checkpoint")
    settings = Settings.from_environment({"HEADSTOCK_HOME": str(folder / "home")})
    with Catalogue.open(settings) as catalogue:
        backbone = pull(catalogue, host, f"path:{folder / 'checkpoint'}", "backbone")
        if backbone.details["family"] != case.family:
            raise SystemExit(f"error: a checkpoint of {case.family!r} was read as {backbone.details['family']!r}")
        family = host.family(case.family)
        module = family.load(fetch(f"path:{folder / 'checkpoint'}", folder / "fetched").files)
        fits = {head: fit(head, family.taps(module)) for head in head_types(host, family.modality)}
        chosen = [head for head, found in fits.items() if found.tap is not None]
        columns = _columns(catalogue, backbone)
        models = {h: _adapted(catalogue, host, h, write_table(h, folder / "data", columns)) for h in chosen}
        asked = {head: samples(head, columns) for head in chosen}
        with background_server(settings, _SERVER) as server:
            answered = {head: _ask(server.address, head, asked[head]) for head in chosen}
        figures = {h: _figures(catalogue, backbone, module, models[h], asked[h], answered[h]) for h in chosen}
    return [Measured(head.name, found, **figures.get(head, {})) for head, found in fits.items()]


def _columns(catalogue: Catalogue, backbone: Version) -> list[str]:
    """The columns that a table's backbone reads; none of other backbones."""
    spec = catalogue.store.read_json(catalogue.artefact(backbone.subject).files["preprocess"])
    return [column["name"] for column in spec["options"].get("columns", ())]


def _adapted(catalogue: Catalogue, host: PluginHost, head: HeadType, data: Path) -> Version:
    table = read_table(data)
    recipe = plan_recipe(catalogue, host, table, Reference("backbone"), head.name, Options(epochs=EPOCHS))
    return fine_tune(catalogue, host, recipe, table, head.name).version


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


def _figures(
    catalogue: Catalogue,
    backbone: Version,
    module: torch.nn.Module,
    version: Version,
    asked: Mapping[str, list[bytes]],
    answered: tuple[Answers, list[Answers], Answers],
) -> dict[str, float]:
    """The fields of `Measured` that are figures."""
    model = load_model(catalogue, version)
    together, alone, by_triton = answered
    certificate = model.backbone.certificate
    certified = certificate.measured if certificate is not None and certificate.shared else DIFFERENT
    return {
        "graph": max(tap["max_error"] for tap in backbone.details["parity"].values()),
        "form": catalogue.store.read_json(catalogue.artefact(version.subject).files["report"])["parity"],
        "served": distance(together, _torch_answers(module, model, list(asked.values()))),
        "company": max(certified, company(together, alone)),
        "clients": equality(together, by_triton),
    }


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
    outputs: Array = graph.run({graph.inputs[0]: features[None]}, graph.outputs)[0][0]
    return outputs
