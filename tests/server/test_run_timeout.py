"""A pass past its time cap is ended: its rows fail in so many words, and the runner goes on with the next."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from headstock.catalogue import Catalogue
from headstock.errors import HeadstockError, RunTimeout
from headstock.servable import ServableBackbone, load_model
from headstock.testing.toy import VOCABULARY, Toy
from headstock_server.engine import Engine, EngineOptions, LoadedModel
from headstock_server.scheduler import Scheduler, Ticket
from headstock_server.transport.status import failure_of

FOR_EVER = 1 << 40
ENDLESS = "w99"
"""The word that makes the graph loop."""


def _endless(graph: Path, path: Path) -> Path:
    """The toy's graph, but a batch with `ENDLESS` in it turns in a loop before its `mean` is there."""
    model = onnx.load(str(graph))
    for node in model.graph.node:
        node.output[:] = ["mean_early" if name == "mean" else name for name in node.output]
    value, flag = helper.make_tensor_value_info, TensorProto.BOOL
    body = helper.make_graph(
        [helper.make_node("Tanh", ["was"], ["is"]), helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [value("i", TensorProto.INT64, []), value("go", flag, []), value("was", TensorProto.FLOAT, None)],
        [value("on", flag, []), value("is", TensorProto.FLOAT, None)],
    )
    model.graph.initializer.extend([
        numpy_helper.from_array(np.array(VOCABULARY.index(ENDLESS)), "endless"),
        numpy_helper.from_array(np.array(FOR_EVER), "for_ever"),
        numpy_helper.from_array(np.array(0), "never"),
    ])  # fmt: skip
    model.graph.node.extend([
        helper.make_node("ReduceMax", ["input_ids"], ["largest"], keepdims=0),
        helper.make_node("Equal", ["largest", "endless"], ["loops"]),
        helper.make_node("Where", ["loops", "for_ever", "never"], ["turns"]),
        helper.make_node("Loop", ["turns", "", "mean_early"], ["mean"], body=body),
    ])  # fmt: skip
    onnx.save(model, path)
    return path


class Served:
    """The real engine and scheduler with both toy models; `together` puts one-row requests into one pass."""

    def __init__(self, catalogue: Catalogue, toy: Toy, graph: Path) -> None:
        engine = Engine(EngineOptions(token_budget=256, padding_waste=1.0, run_seconds=1.0))
        self.models: list[LoadedModel] = []
        backbone: ServableBackbone | None = None
        for version in toy.models.values():
            servable = load_model(catalogue, version)
            if backbone is None:
                files = {**servable.backbone.files, "graph": _endless(servable.backbone.graph, graph)}
                backbone = replace(servable.backbone, files=files)
            self.models.append(engine.load(replace(servable, backbone=backbone)))
        self._done = threading.Semaphore(0)
        self.scheduler = Scheduler(lambda tickets: self._done.release(len(tickets)))

    def together(self, *texts: str) -> list[object]:
        tickets = []
        for i, text in enumerate(texts):
            model = self.models[i % 2]
            tickets.append(Ticket(model, model.backbone.preprocessor.rows([text])))
        self.scheduler.hold(len(tickets))
        for ticket in tickets:
            self.scheduler.submit(ticket)
        for _ in tickets:
            assert self._done.acquire(timeout=30)
        return [ticket.result for ticket in tickets]


@pytest.fixture
def served(catalogue: Catalogue, toy: Toy, tmp_path: Path) -> Iterator[Served]:
    made = Served(catalogue, toy, tmp_path / "endless.onnx")
    yield made
    made.scheduler.close()


def test_a_pass_that_never_ends_is_ended_and_the_next_one_runs(served: Served) -> None:
    results = served.together("refund", f"my {ENDLESS}", "late")
    for result, name in zip(results, ("sentiment:1", "intents:1", "sentiment:1"), strict=True):
        assert isinstance(result, RunTimeout)
        assert f"{name}: a run of the graph took longer than 1 s" in result.message
        assert "3 rows were in it" in result.message
        assert "--run-timeout" in str(result.fix)
    lane = served.scheduler.statistics().backbones[served.models[0].backbone.lane]
    assert (lane.passes, lane.failed_passes) == (1, 0)
    assert all(isinstance(result, np.ndarray) for result in served.together("refund", "late"))


def test_callers_see_that_it_took_too_long(served: Served) -> None:
    (result,) = served.together(ENDLESS)
    assert isinstance(result, HeadstockError)
    assert failure_of(result).code.name == "DEADLINE_EXCEEDED"


def test_a_run_timeout_of_nothing_is_refused() -> None:
    from headstock_server.cli import serve

    result = CliRunner().invoke(serve, ["--run-timeout", "0"])
    assert result.exit_code == 2
    assert "--run-timeout" in result.output
