"""Device work, on the CPU by the same code: lengths rounded up, passes replayed, a device that is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from headstock.catalogue import Catalogue
from headstock.preprocess import PreprocessSpec
from headstock.records import TensorSpec
from headstock.servable import load_model
from headstock.settings import Settings
from headstock.testing.toy import Toy
from headstock_server.engine import Engine, EngineOptions, GraphHead, LoadedBackbone
from headstock_server.engine.buckets import filled, rounded
from headstock_server.engine.device import device_options, most_rows

TEXTS = ["refund", "my order is late and w1 w2 w3 w4 w5 w6 w7", "great"]
INPUTS = tuple(TensorSpec(name, "INT64", (-1, -1)) for name in ("input_ids", "attention_mask"))
SPEC = PreprocessSpec("text", {"max_length": 512}, {})


@pytest.mark.parametrize("steps, found", [(1, 8), (8, 8), (9, 16), (64, 64), (65, 72), (129, 144), (300, 320)])
def test_lengths_are_rounded_up_by_less_than_eight_or_an_eighth(steps: int, found: int) -> None:
    assert rounded(steps) == found


def test_rounding_makes_few_shapes_and_never_shortens_or_exceeds_the_maximum() -> None:
    shapes = {rounded(steps, 512) for steps in range(1, 513)}
    assert len(shapes) == 32
    assert all(steps <= rounded(steps, 512) <= min(512, max(8, steps + 7, 1.125 * steps)) for steps in range(1, 513))
    assert rounded(38, 40) == rounded(40, 40) == 40
    assert rounded(50, 40) == 50


def test_a_pass_is_filled_up_with_rows_and_what_is_no_row_stays() -> None:
    feeds = {"x": np.arange(6).reshape(3, 2), "stack.A": np.zeros((2, 5))}
    found = filled(feeds, ["x"], 5)
    assert found["x"].tolist() == [[0, 1], [2, 3], [4, 5], [4, 5], [4, 5]]
    assert found["stack.A"] is feeds["stack.A"]


def _loaded(catalogue: Catalogue, toy: Toy, **options: Any) -> LoadedBackbone:
    model = load_model(catalogue, toy.models["sentiment"])
    loaded = Engine(EngineOptions(token_budget=256, **options)).load(model)
    # The model holds its backbone.
    loaded.backbone.__dict__["_held"] = loaded
    return loaded.backbone


def _answers(backbone: LoadedBackbone, tap: str, texts: list[str]) -> list[bytes]:
    rows = backbone.preprocessor.rows(texts)
    found = backbone.infer(backbone.collate(rows), [tap])[tap]
    assert len(found) == len(rows)
    own = backbone.positions(tap, rows) or [None] * len(rows)
    return [row[:length].tobytes() for row, length in zip(found, own, strict=True)]


@pytest.mark.parametrize("tap", ["mean", "tokens"])
@pytest.mark.parametrize(
    "options", [{"buckets": True}, {"binding": "staged"}, {"buckets": True, "cuda_graphs": True, "binding": "staged"}]
)
def test_what_a_gpu_does_to_a_pass_changes_no_bit_on_the_cpu(
    catalogue: Catalogue, toy: Toy, tap: str, options: dict[str, Any]
) -> None:
    """Rounded lengths, staged memory and passes filled up to a captured shape, alone and in company."""
    plain, changed = _loaded(catalogue, toy), _loaded(catalogue, toy, **options)
    for texts in (TEXTS, TEXTS[:1], TEXTS[1:], TEXTS * 5):
        assert _answers(changed, tap, texts) == _answers(plain, tap, texts)


def test_lengths_are_rounded_where_padding_is_masked(catalogue: Catalogue, toy: Toy) -> None:
    """Padding that the preprocessor makes: the mask is zero there."""
    backbone = _loaded(catalogue, toy, buckets=True)
    feeds = backbone.collate(backbone.preprocessor.rows(TEXTS))
    plain = backbone.preprocessor.collate(backbone.preprocessor.rows(TEXTS))
    length = plain["attention_mask"].shape[1]
    assert feeds["attention_mask"].shape == (3, rounded(length, 40))
    assert not feeds["attention_mask"][:, length:].any()
    assert (feeds["input_ids"][:, :length] == plain["input_ids"]).all()


def test_small_shapes_are_captured_at_load_within_the_budget(catalogue: Catalogue, toy: Toy) -> None:
    """And none without being asked."""
    assert len(_loaded(catalogue, toy)._replays) == 0
    assert 8 <= len(_loaded(catalogue, toy, cuda_graphs=True, buckets=True)._replays) <= 40


def test_options_of_a_device_follow_from_the_settings(tmp_path: Path) -> None:
    """Engines lie in a folder per graph, and a TensorRT pass holds no more rows than its engine was built for."""
    cpu = device_options(EngineOptions(), INPUTS, SPEC, "ab" * 32)
    assert cpu.shared_arena
    assert not cpu.shapes
    options = EngineOptions(device="tensorrt", engine_cache=tmp_path, gpu_memory=1 << 30, cuda_graphs=True)
    found = device_options(options, INPUTS, SPEC, "ab" * 32)
    assert found.engine_cache == tmp_path / ("ab" * 8)
    assert (found.gpu_memory, found.cuda_graphs) == (1 << 30, True)
    assert set(found.shapes) == {"input_ids", "attention_mask"}
    assert found.shapes["input_ids"].least == (1, 1)
    assert found.shapes["input_ids"].most == (most_rows(options), 512) == (256, 512)
    assert most_rows(EngineOptions(device="cuda")) == 1024


def test_without_a_longest_row_no_shape_is_promised() -> None:
    """Ranges for some inputs and not for others would be refused."""
    options = EngineOptions(device="tensorrt")
    assert device_options(options, INPUTS, PreprocessSpec("waveform", {}, {}), "ab" * 32).shapes == {}
    pixels = (TensorSpec("pixel_values", "FP32", (-1, 3, 224, 224)),)
    shapes = device_options(options, pixels, PreprocessSpec("image", {}, {}), "ab" * 32).shapes
    assert shapes["pixel_values"].most == (256, 3, 224, 224)


def _head(path: Path, *, leaky: bool) -> Path:
    make, value = helper.make_node, helper.make_tensor_value_info
    nodes = [make("ReduceMean", ["x"], ["mean"], axes=[0]), make("Sub", ["x", "mean"], ["y"])]
    graph = helper.make_graph(
        nodes if leaky else [make("Relu", ["x"], ["y"])],
        "head",
        [value("x", TensorProto.FLOAT, ["n", 6])],
        [value("y", TensorProto.FLOAT, ["n", 6])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def test_vectors_share_a_run_of_a_graph_head_only_as_far_as_that_was_measured(tmp_path: Path) -> None:
    """A head that looks at its neighbours answers every vector by itself."""
    honest = GraphHead("mean", _head(tmp_path / "a.onnx", leaky=False), width=6, threads=1)
    leaky = GraphHead("mean", _head(tmp_path / "b.onnx", leaky=True), width=6, threads=1)
    assert (honest.rows, leaky.rows) == (64, 1)
    vectors = np.random.default_rng(1).normal(size=(150, 6)).astype(np.float32)
    slots = np.zeros(150, np.intp)
    np.testing.assert_array_equal(honest.run(vectors, slots), np.maximum(vectors, 0))
    np.testing.assert_array_equal(leaky.run(vectors, slots), np.zeros_like(vectors))


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_serve_on_a_device_that_is_missing_ends_with_what_to_install(toy_settings: Settings, device: str) -> None:
    """It does not start on the CPU instead."""
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine has a GPU")
    command = [sys.executable, "-c", "import sys; from headstock.cli.main import main; main()"]
    arguments = ["serve", "--bind", "127.0.0.1:0", "--device", device, "--licences", "off"]
    done = subprocess.run(
        [*command, *arguments],
        env={**os.environ, "HEADSTOCK_HOME": str(toy_settings.home)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    assert f"device {device!r} was asked for but ONNX Runtime offers only" in done.stderr
    assert "headstock[gpu]" in done.stderr
    assert "listening" not in done.stdout
