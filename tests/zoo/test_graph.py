"""Opening and running graphs: a missing device is an error, and every way to run gives the same bits."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
import onnx
from onnx import TensorProto, helper, numpy_helper

from headstock.errors import Corrupt, FailedPrecondition, HeadstockError
from headstock.graph import Graph
from headstock.pinned import Staging
from headstock.providers import DeviceOptions, ShapeRange, providers, require_provider


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two outputs of x [batch, length, 4]: `sum` [batch, 4], and `kept`, whose shape depends on the numbers."""
    make, value = helper.make_node, helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            make("MatMul", ["x", "w"], ["y"]),
            make("ReduceSum", ["y", "one"], ["sum"], keepdims=0),
            make("Greater", ["x", "zero"], ["above"]),
            make("Reshape", ["above", "minus"], ["flat"]),
            make("Compress", ["x", "flat"], ["kept"]),
        ],
        "g",
        [value("x", TensorProto.FLOAT, ["batch", "length", 4])],
        [value("sum", TensorProto.FLOAT, ["batch", 4]), value("kept", TensorProto.FLOAT, ["any"])],
        [
            numpy_helper.from_array(np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32), "w"),
            numpy_helper.from_array(np.array([1], np.int64), "one"),
            numpy_helper.from_array(np.array(0, np.float32), "zero"),
            numpy_helper.from_array(np.array([-1], np.int64), "minus"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    (tmp_path / "g.onnx").write_bytes(model.SerializeToString())
    return tmp_path / "g.onnx"


def _input(batch: int, length: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=(batch, length, 4)).astype(np.float32)


@pytest.mark.parametrize("options", [DeviceOptions(binding="direct"), DeviceOptions(binding="staged")])
def test_bound_runs_give_the_bits_of_plain_ones(path: Path, options: DeviceOptions) -> None:
    """For every shape, the first time and later, contiguous or not; an answer is not overwritten by the next pass."""
    plain, bound = Graph(path), Graph(path, options=options)
    kept = []
    for seed, (batch, length) in enumerate([(1, 3), (4, 7), (1, 3), (4, 7), (1, 3), (2, 2)]):
        x = _input(length, batch, seed).transpose(1, 0, 2)
        expected = plain.run({"x": x}, ["sum"])[0]
        kept.append((bound.run({"x": x}, ["sum"])[0], expected))
    for found, expected in kept:
        assert found.tobytes() == expected.tobytes()


def test_an_output_whose_shape_depends_on_numbers_is_bound_anew(path: Path) -> None:
    """A remembered shape that no longer holds must not fail the pass, and only asked outputs come back."""
    plain, bound = Graph(path), Graph(path, options=DeviceOptions(binding="direct"))
    for seed in range(4):
        x = _input(2, 5, seed)
        expected = plain.run({"x": x}, ["kept", "sum"])
        found = bound.run({"x": x}, ["kept", "sum"])
        assert [array.tobytes() for array in found] == [array.tobytes() for array in expected]
    assert len(bound.run({"x": _input(2, 5)}, ["sum"])) == 1


def test_a_shared_arena_gives_the_same_bits(path: Path) -> None:
    """Two sessions in it, taking turns."""
    plain = Graph(path)
    shared = [Graph(path, options=DeviceOptions(shared_arena=True)) for _ in range(2)]
    for seed in range(3):
        x = _input(3, 4, seed)
        for graph in shared:
            assert graph.run({"x": x}, ["sum"])[0].tobytes() == plain.run({"x": x}, ["sum"])[0].tobytes()


def test_passes_at_fixed_addresses_give_the_bits_of_plain_ones(path: Path) -> None:
    """What a CUDA graph replays, on the CPU: captured shapes run at their own memory, others as usual."""
    plain, fixed = Graph(path), Graph(path, options=DeviceOptions(cuda_graphs=True))
    assert fixed.capture({"x": _input(4, 8)}, ["sum"])
    assert not plain.capture({"x": _input(4, 8)}, ["sum"])
    found = []
    for seed, shape in enumerate([(4, 8), (4, 9), (4, 8)]):
        x = _input(*shape, seed)
        found.append((fixed.run({"x": x}, ["sum"])[0], plain.run({"x": x}, ["sum"])[0]))
    for answer, expected in found:
        assert answer.tobytes() == expected.tobytes()


def test_a_capture_that_fails_is_told_and_passes_run_without_it(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line says which shape and that graphs are off; answers stay right."""
    graph = Graph(path, options=DeviceOptions(cuda_graphs=True))

    def broken(*_: Any) -> None:
        raise RuntimeError("not permitted when stream is capturing")

    monkeypatch.setattr("headstock.captured.CapturedRuns.capture", broken)
    with caplog.at_level(logging.WARNING, logger="headstock.graph"):
        assert not graph.capture({"x": _input(4, 8)}, ["sum"])
    assert "CUDA graphs are off" in caplog.text
    assert (
        graph.run({"x": _input(4, 8)}, ["sum"])[0].tobytes()
        == Graph(path).run({"x": _input(4, 8)}, ["sum"])[0].tobytes()
    )


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_missing_device_is_an_error_that_says_what_to_install(path: Path, device: Any) -> None:
    """ONNX Runtime itself would run on the CPU with a warning."""
    import onnxruntime

    if f"{'CUDA' if device == 'cuda' else 'Tensorrt'}ExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine has that device")
    with pytest.raises(FailedPrecondition, match=f"device '{device}' was asked for") as refused:
        Graph(path, device=device)
    assert "headstock[gpu]" in (refused.value.fix or "")


def test_a_provider_that_was_dropped_after_the_session_opened_is_an_error() -> None:
    """`onnxruntime-gpu` offers CUDA without its libraries, and drops it silently when a session is made."""
    require_provider("cuda", ["CUDAExecutionProvider", "CPUExecutionProvider"])
    with pytest.raises(FailedPrecondition, match="offers only"):
        require_provider("cuda", ["CPUExecutionProvider"])


def test_what_is_no_graph_is_corrupt_and_wrong_inputs_fail_without_a_path(path: Path, tmp_path: Path) -> None:
    """With or without binding."""
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    for graphs in (False, True):
        with pytest.raises(Corrupt, match=r"cannot load the graph 'bad\.onnx'"):
            Graph(tmp_path / "bad.onnx", options=DeviceOptions(cuda_graphs=graphs))
    for options in (DeviceOptions(), DeviceOptions(binding="direct"), DeviceOptions(binding="staged")):
        with pytest.raises(HeadstockError) as failed:
            Graph(path, options=options).run({"x": np.ones((1, 2, 5), np.float32)}, ["sum"])
        assert str(tmp_path) not in failed.value.message


def test_the_cpu_asks_for_nothing_but_itself() -> None:
    assert providers("cpu", DeviceOptions(gpu_memory=1, cuda_graphs=True)) == [("CPUExecutionProvider", {})]


def test_cuda_grows_its_arena_by_what_is_asked_and_computes_fp32_in_fp32() -> None:
    """The CPU provider stands behind it for what has no kernel; memory and graphs only where asked."""
    (name, chosen), last = providers("cuda", DeviceOptions())
    assert (name, last) == ("CUDAExecutionProvider", ("CPUExecutionProvider", {}))
    assert chosen["arena_extend_strategy"] == "kSameAsRequested"
    assert chosen["cudnn_conv_algo_search"] == "HEURISTIC"
    assert chosen["use_tf32"] == "0"
    assert not {"gpu_mem_limit", "enable_cuda_graph"} & set(chosen)
    (_, limited), _ = providers("cuda", DeviceOptions(gpu_memory=1 << 30, cuda_graphs=True))
    assert (limited["gpu_mem_limit"], limited["enable_cuda_graph"]) == (str(1 << 30), "1")


def test_tensorrt_keeps_its_engines_and_is_told_the_range_of_every_shape(tmp_path: Path) -> None:
    """Without ranges it would build an engine again for every new shape."""
    shapes = {
        "input_ids": ShapeRange((1, 1), (8, 64), (64, 512)),
        "attention_mask": ShapeRange((1, 1), (8, 64), (64, 512)),
    }
    found = providers("tensorrt", DeviceOptions(engine_cache=tmp_path, shapes=shapes))
    assert [name for name, _ in found] == [
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ]
    chosen = found[0][1]
    assert chosen["trt_engine_cache_path"] == chosen["trt_timing_cache_path"] == str(tmp_path)
    assert chosen["trt_profile_min_shapes"] == "input_ids:1x1,attention_mask:1x1"
    assert chosen["trt_profile_opt_shapes"] == "input_ids:8x64,attention_mask:8x64"
    assert chosen["trt_profile_max_shapes"] == "input_ids:64x512,attention_mask:64x512"
    assert "trt_engine_cache_enable" not in providers("tensorrt", DeviceOptions())[0][1]


def _locking(log: list[tuple[str, int]]) -> Callable[[int, int], Callable[[], object]]:
    def lock(address: int, size: int) -> Callable[[], object]:
        log.append(("lock", address))
        return lambda: log.append(("unlock", address))

    return lock


def test_staging_buffers_are_reused_grow_and_are_unlocked_when_they_go() -> None:
    """Every page that is locked is unlocked, and not while a view of it lives."""
    log: list[tuple[str, int]] = []
    staging = Staging(_locking(log))
    first = staging.view("x", (2, 3), np.float32)
    first[:] = 7
    again = staging.view("x", (3, 2), np.int64)
    assert again.ctypes.data == first.ctypes.data
    assert len(log) == 1
    large = staging.view("x", (1 << 14,), np.float32)
    assert large.ctypes.data != first.ctypes.data
    assert [what for what, _ in log] == ["lock", "lock"]
    address = first.ctypes.data
    del first, again
    assert log[-1] == ("unlock", address)
    address = large.ctypes.data
    del large, staging
    assert log[-1] == ("unlock", address)
