"""Adapters, from the catalogue to the wire: one batch holds rows of several, each as peft's merged model says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")
from safetensors.numpy import save
from tritonclient import grpc as triton

from headstock.adapter import adapter_artefact, peft_parameters, target_weights
from headstock.backbone.pull import pull
from headstock.backbone.restore import restore
from headstock.catalogue import Catalogue
from headstock.digest import Digest
from headstock.errors import DigestMismatch, HeadstockError
from headstock.names import Reference
from headstock.plugin_host import open_host
from headstock.records import Edge, HeadIdentity, ModelIdentity, Publication, artefact_of
from headstock.servable import load_model
from headstock.settings import Settings
from headstock.testing.tiny import TEXTS, make_tiny_bert
from headstock.variant import merge_adapter
from headstock_client import Client
from headstock_server.engine import AdaptedBackbone, Engine, EngineOptions
from headstock_server.engine.budget import estimate
from headstock_server.scheduler import Scheduler, Ticket
from headstock_server.scheduler.trace import as_json
from headstock_server.testing import background_server

WIDTH, CLASSES = 32, 3


@dataclass
class Zoo:
    """Models `plain`, `one`, `two` on a tiny BERT, with the merged torch module and head of each."""

    settings: Settings
    merged: dict[str, Any]
    heads: dict[str, Any]


def _targets(module: Any) -> list[str]:
    return [n for n, _ in module.named_modules() if n.endswith(("attention.self.query", "attention.self.value"))]


def _adapter(module: Any, seed: int, rank: int = 4) -> tuple[Any, Any]:
    """A peft model with random A and B, large enough to matter, and its parameters."""
    import copy

    import peft
    import torch

    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=_targets(module))
    model = peft.get_peft_model(copy.deepcopy(module), config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    parameters = peft_parameters(model)
    return model.merge_and_unload(), parameters


def _publish(catalogue: Catalogue, backbone: Digest, name: str, seed: int, adapter: Any = None) -> Any:
    generator = np.random.default_rng(seed)
    weight = generator.normal(size=(WIDTH, CLASSES)).astype(np.float32)
    bias = generator.normal(size=CLASSES).astype(np.float32)
    blob = catalogue.store.put_bytes(save({"weight": weight, "bias": bias}))
    post = {"kind": "classification", "labels": ["a", "b", "c"]}
    identity = HeadIdentity("text-classification", backbone, "mean", "linear", blob, WIDTH, CLASSES, post)
    identity = replace(identity, adapter=adapter and adapter.digest)
    head = artefact_of("head", identity.to_json(), {"parameters": blob})
    model = artefact_of("model", ModelIdentity(backbone, head.digest, adapter and adapter.digest).to_json())
    edges = [Edge(head.digest, "head_on", backbone)]
    extra = []
    if adapter is not None:
        extra, edges = [adapter], [*edges, Edge(adapter.digest, "adapter_of", backbone)]
    catalogue.publish(Publication(name, "model", model.digest, [*extra, head, model], edges))
    return weight, bias


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    home: Path = tmp_path_factory.mktemp("lora")
    settings = Settings.from_environment({"HEADSTOCK_HOME": str(home), "HEADSTOCK_ACTOR": "tester"})
    source, host = make_tiny_bert(home / "source"), open_host(settings)
    with Catalogue.open(settings) as catalogue:
        backbone = Digest(pull(catalogue, host, f"path:{source}", "tiny").subject)
        module = restore(catalogue, host, backbone, "tiny").module
        merged, heads = {"plain": module}, {"plain": _publish(catalogue, backbone, "plain", 0)}
        for seed, name in enumerate(("one", "two"), start=1):
            merged[name], parameters = _adapter(module, seed)
            with catalogue.writing("adapter"):
                weights = target_weights(module, parameters)
                artefact = adapter_artefact(catalogue, backbone, parameters, weights)
                heads[name] = _publish(catalogue, backbone, name, seed, artefact)
    return Zoo(settings, merged, heads)


class Served:
    """The real engine and scheduler; `together` forces one-row requests into as few passes as may be."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.engine = Engine(EngineOptions(token_budget=1 << 20, padding_waste=1.0))
        self.models = {
            n: self.engine.load(load_model(catalogue, catalogue.version(Reference(n)))) for n in ("plain", "one", "two")
        }
        self._done = threading.Semaphore(0)
        self.scheduler = Scheduler(lambda tickets: self._done.release(len(tickets)))

    def together(self, requests: list[tuple[str, str]]) -> list[Any]:
        tickets = [Ticket(self.models[n], self.models[n].backbone.preprocessor.rows([t])) for n, t in requests]
        self.scheduler.hold(len(tickets))
        for ticket in tickets:
            self.scheduler.submit(ticket)
        for _ in tickets:
            assert self._done.acquire(timeout=20)
        return [ticket.result for ticket in tickets]


@pytest.fixture(scope="module")
def served(zoo: Zoo) -> Iterator[Served]:
    with Catalogue.open(zoo.settings) as catalogue:
        made = Served(catalogue)
        yield made
        made.scheduler.close()


def _expected(zoo: Zoo, served: Served, name: str, text: str) -> Any:
    import torch

    preprocessor = served.models[name].backbone.preprocessor
    feeds = {k: torch.from_numpy(v) for k, v in preprocessor.collate(preprocessor.rows([text])).items()}
    with torch.no_grad():
        features = zoo.merged[name](**feeds)["mean"].numpy()
    weight, bias = zoo.heads[name]
    return features @ weight + bias


def test_rows_of_several_adapters_share_a_pass_and_equal_pefts_merged_models(zoo: Zoo, served: Served) -> None:
    """Row by row within 1e-4 of peft; the adapters' rows, in any mixture, ran in one pass."""
    before = {key: lane.passes for key, lane in served.scheduler.statistics().backbones.items()}
    requests = [(("one", "two", "plain")[i % 3], text) for i, text in enumerate(TEXTS)]
    results = served.together(requests)
    for (name, text), result in zip(requests, results, strict=True):
        np.testing.assert_allclose(result, _expected(zoo, served, name, text), atol=1e-4)
    after = served.scheduler.statistics().backbones
    adapted = served.models["one"].backbone.lane
    assert adapted == served.models["two"].backbone.lane != served.models["plain"].backbone.lane
    assert after[adapted].passes - before.get(adapted, 0) == 1


def test_one_graph_run_mixes_adapters_and_none(zoo: Zoo, served: Served) -> None:
    """In the graph slot 0 is the plain backbone: its rows agree with torch beside rows of two adapters."""
    backbone = served.models["one"].backbone
    assert isinstance(backbone, AdaptedBackbone)
    rows = backbone.preprocessor.rows(list(TEXTS[:3]))
    names = ["plain", "one", "two"]
    slots = np.array([served.models[n].adapter_slot for n in names])
    features = backbone.infer(backbone.adapt(backbone.collate(rows), slots), ["mean"])["mean"]
    for i, name in enumerate(names):
        weight, bias = zoo.heads[name]
        expected = _expected(zoo, served, name, TEXTS[i])
        np.testing.assert_allclose(features[i : i + 1] @ weight + bias, expected, atol=1e-4)


def test_a_rows_answer_has_the_same_bits_alone_and_beside_hostile_neighbours(served: Served) -> None:
    """Long, short and other adapters' rows move no bit of it."""
    (alone,) = served.together([("one", TEXTS[0])])
    hostile = [("two", "a " * 40), ("two", "?"), ("one", "a " * 60), ("plain", "x y z"), ("two", TEXTS[0])]
    for place in range(len(hostile) + 1):
        requests = [*hostile[:place], ("one", TEXTS[0]), *hostile[place:]]
        np.testing.assert_array_equal(served.together(requests)[place], alone)


def test_an_adapter_slot_that_is_not_there_is_refused_before_the_run(served: Served) -> None:
    """A GPU would read beside the array."""
    backbone = served.models["one"].backbone
    assert isinstance(backbone, AdaptedBackbone)
    feeds = backbone.collate(backbone.preprocessor.rows(["x"]))
    for slot in (-1, backbone.adapters.capacity):
        with pytest.raises(HeadstockError, match="adapter slot"):
            backbone.adapt(feeds, np.array([slot]))


def test_a_head_trained_under_an_adapter_is_refused_without_it(zoo: Zoo) -> None:
    """Its features would be others; both digests are in the message."""
    with Catalogue.open(zoo.settings) as catalogue:
        version = catalogue.version(Reference("one"))
        identity = ModelIdentity.from_json(catalogue.artefact(version.subject).identity)
        bare = artefact_of("model", replace(identity, adapter=None).to_json())
        with pytest.raises(DigestMismatch, match=str(identity.adapter)):
            catalogue.publish(Publication("bare", "model", bare.digest, [bare]))
        servable = load_model(catalogue, version)
        with pytest.raises(DigestMismatch, match="trained under adapter"):
            Engine(EngineOptions(token_budget=64)).load(replace(servable, adapter=None))


def test_tritonclient_sees_each_models_own_adapter(zoo: Zoo, served: Served) -> None:
    """Over the wire the adapted models answer as peft does, and unlike each other."""
    with background_server(zoo.settings) as server, triton.InferenceServerClient(server.address) as client:
        for name in ("plain", "one", "two"):
            text = triton.InferInput("text", [1], "BYTES")
            text.set_data_from_numpy(np.array([TEXTS[1].encode()], dtype=object))
            answer = client.infer(name, [text]).as_numpy("logits")
            np.testing.assert_allclose(answer, _expected(zoo, served, name, TEXTS[1]), atol=1e-4)


def test_a_merged_adapter_answers_over_the_wire_as_the_row_form_does_without_its_graph(zoo: Zoo) -> None:
    """Within 1e-4 for every text, with the same bits alone as among others; no row of it runs with the adapters'."""
    with Catalogue.open(zoo.settings) as catalogue:
        merge_adapter(catalogue, open_host(zoo.settings), Reference("one"), "merged")
    texts = [*TEXTS, "a " * 50]

    def ask(client: Any, name: str, *rows: str) -> Any:
        text = triton.InferInput("text", [len(rows)], "BYTES")
        text.set_data_from_numpy(np.array([row.encode() for row in rows], dtype=object))
        return client.infer(name, [text]).as_numpy("logits")

    with background_server(zoo.settings) as server, triton.InferenceServerClient(server.address) as client:
        merged, row_form, plain = (ask(client, name, *texts) for name in ("merged", "one", "plain"))
        for text, answer in zip(texts, merged, strict=True):
            np.testing.assert_array_equal(ask(client, "merged", text)[0], answer)
        adapted = [report.rows for report in server.plane.backbone_reports() if report.adapters]
    np.testing.assert_allclose(merged, row_form, atol=1e-4)
    assert np.abs(merged - plain).max() > 0.1
    assert sum(adapted) == len(row_form)


def test_statistics_tell_the_plain_lane_from_the_one_with_adapters(zoo: Zoo) -> None:
    """Each counts its own requests and has a name of its own, in the statistics and in the trace of its passes."""
    with background_server(zoo.settings) as server, triton.InferenceServerClient(server.address) as client:
        text = triton.InferInput("text", [1], "BYTES")
        text.set_data_from_numpy(np.array([TEXTS[0].encode()], dtype=object))
        for name in ("plain", "one", "one", "two"):
            client.infer(name, [text])
        rows = {m.name: m for m in client.get_inference_statistics().model_stats if m.name.startswith("backbone:")}
        reports = {bool(report.adapters): report for report in server.plane.backbone_reports()}
        traced = [as_json(record)["adapters"] for record in server.scheduler.recent()]
    assert {adapted: report.requests for adapted, report in reports.items()} == {False: 1, True: 3}
    assert sorted(row.inference_count for row in rows.values()) == [1, 3]
    assert sorted(traced) == ["", *[reports[True].adapters] * 3]


def test_the_zoo_rpc_tells_the_lanes_of_one_backbone_apart_and_counts_adapters_and_reused_rows(zoo: Zoo) -> None:
    """Two models have an adapter; of three equal rows that one request brings, the graph computes one."""
    with background_server(zoo.settings) as server, Client(server.address) as client:
        for name in ("plain", "two", "one"):
            client.classify(name, [TEXTS[0]])
        client.classify("one", [TEXTS[1]] * 3)
        lanes = client.backbone_statistics()
    with Catalogue.open(zoo.settings) as catalogue:
        adapter = load_model(catalogue, catalogue.version(Reference("one"))).adapter
    assert adapter is not None
    (adapted,) = (row for row in lanes if row.adapters == adapter.graph_digest)
    assert (adapted.adapters_held, adapted.rows, adapted.rows_reused) == (2, 5, 2)
    plain = [(row.adapters_held, row.rows, row.rows_reused) for row in lanes if not row.adapters and row.rows]
    assert plain == [(0, 1, 0)]


def test_the_memory_of_adapters_and_heads_is_counted_with_their_session(zoo: Zoo) -> None:
    """What they take beside the session, also while they come and go; equal adapters are one."""
    engine = Engine(EngineOptions(token_budget=64))
    with Catalogue.open(zoo.settings) as catalogue:
        servable = {n: load_model(catalogue, catalogue.version(Reference(n))) for n in ("one", "two")}
    one = engine.load(servable["one"])
    assert isinstance(one.backbone, AdaptedBackbone)
    ((key, first),) = engine.memory.report().residents.items()
    assert key == one.resident
    beside = one.backbone.adapters.nbytes + sum(bank.nbytes for bank in one.backbone.banks())
    assert beside > 0
    assert first == estimate(servable["one"])[1].session + beside
    two = engine.load(servable["two"])
    grown = one.backbone.adapters.nbytes + sum(bank.nbytes for bank in one.backbone.banks())
    assert two.backbone is one.backbone
    assert engine.memory.report().size == first - beside + grown > first
