"""A run that takes too long is told to end, and no other one is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from headstock.errors import HeadstockError, RunTimeout
from headstock.graph import Graph
from headstock.run_cap import RunCap, run_cap

FOR_EVER = 1 << 40
"""Turns of a loop that nobody will see the end of."""


@dataclass
class Run:
    terminate: bool = False


def looping_graph(path: Path) -> Path:
    """`y` is `x` after as many turns of a loop as `turns` says."""
    body = helper.make_graph(
        [helper.make_node("Add", ["x_in", "x_in"], ["x_sum"]), helper.make_node("Tanh", ["x_sum"], ["x_out"]),
         helper.make_node("Identity", ["go"], ["go_on"])],
        "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []),
         helper.make_tensor_value_info("go", TensorProto.BOOL, []),
         helper.make_tensor_value_info("x_in", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
         helper.make_tensor_value_info("x_out", TensorProto.FLOAT, None)],
    )  # fmt: skip
    graph = helper.make_graph(
        [helper.make_node("Loop", ["turns", "", "x"], ["y"], body=body)],
        "looping",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4]),
         helper.make_tensor_value_info("turns", TensorProto.INT64, [])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_a_run_that_lasts_too_long_is_told_to_end_and_those_before_it_are_not() -> None:
    cap = RunCap(0.05, Run)
    over = cap.start()
    assert not cap.end(over)
    late = cap.start()
    end = time.monotonic() + 10
    while not late.terminate:
        assert time.monotonic() < end
        time.sleep(0.005)
    assert cap.end(late)
    assert not over.terminate


def test_runs_are_watched_however_many_there_are_at_a_time() -> None:
    cap = RunCap(0.05, Run)
    runs = [cap.start() for _ in range(20)]
    spared = [cap.start() for _ in range(20)]
    ended = [cap.end(run) for run in spared]
    end = time.monotonic() + 10
    while not all(run.terminate for run in runs):
        assert time.monotonic() < end
        time.sleep(0.005)
    assert [run.terminate for run in spared] == ended


def test_a_graph_that_loops_too_long_raises_and_answers_the_next_run(tmp_path: Path) -> None:
    graph = Graph(looping_graph(tmp_path / "loop.onnx"), run_seconds=1.0)
    x = np.ones((2, 4), np.float32)
    with pytest.raises(RunTimeout, match="longer than 1 s") as caught:
        graph.run({"x": x, "turns": np.array(FOR_EVER)}, ["y"])
    assert caught.value.fix
    (answer,) = graph.run({"x": x, "turns": np.array(1)}, ["y"])
    assert np.allclose(answer, np.tanh(2 * x))


def test_a_run_that_fails_in_time_says_so_instead(tmp_path: Path) -> None:
    graph = Graph(looping_graph(tmp_path / "loop.onnx"), run_seconds=60.0)
    with pytest.raises(HeadstockError, match="failed on its inputs") as caught:
        graph.run({"x": np.ones((2, 3), np.float32), "turns": np.array(1)}, ["y"])
    assert not isinstance(caught.value, RunTimeout)


def test_graphs_with_the_same_cap_share_its_thread() -> None:
    assert run_cap(3.0) is run_cap(3.0)
    assert run_cap(3.0) is not run_cap(4.0)
