"""The isolation certificate: graphs in which a row sees its neighbours are found, honest ones are not accused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from headstock.backbone.isolation import ROWS, certify, tolerance_for
from headstock.backbone.samples import Samples, samples_for
from headstock.catalogue import Catalogue
from headstock.digest import Digest
from headstock.graph import Graph
from headstock.names import Reference
from headstock.preprocess import Preprocessor, PreprocessSpec
from headstock.preprocess.text import TextPreprocessor
from headstock.records import BackboneIdentity, Certificate, Tap, TensorSpec
from headstock.servable import load_backbone

WIDTH = 8
NAMES = ("input_ids", "attention_mask")
Nodes = list[onnx.NodeProto]


def build(path: Path, nodes: Nodes) -> Path:
    """Token embeddings, masked mean, and then `nodes`, which turn `pooled` [n, 8] into `mean` [n, 8]."""
    rng = np.random.default_rng(0)
    constants = {
        "table": rng.normal(size=(200, WIDTH)).astype(np.float32),
        "weight": rng.normal(size=(WIDTH, WIDTH)).astype(np.float32),
        "one": np.array([1], np.int64),
        "two": np.array([2], np.int64),
        "zero": np.array([0], np.int64),
        "axis": np.array(1, np.int64),
        "last": np.array(-1, np.int64),
    }
    make = helper.make_node
    head = [
        make("Gather", ["table", "input_ids"], ["tokens"]),
        make("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        make("Unsqueeze", ["mask", "two"], ["mask3"]),
        make("Mul", ["tokens", "mask3"], ["masked"]),
        # A running sum: ONNX Runtime splits a plain one differently for every shape.
        make("CumSum", ["masked", "axis"], ["running"]),
        make("Gather", ["running", "last"], ["total"], axis=1),
        make("ReduceSum", ["mask", "one"], ["count"], keepdims=1),
        make("Div", ["total", "count"], ["pooled"]),
    ]
    graph = helper.make_graph(
        [*head, *nodes],
        "toy",
        [helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "length"]) for n in NAMES],
        [helper.make_tensor_value_info("mean", TensorProto.FLOAT, ["batch", WIDTH])],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString())
    return path


HONEST = [helper.make_node("MatMul", ["pooled", "weight"], ["mean"])]


@pytest.fixture(scope="module")
def preprocessor(tiny_checkpoint: Path) -> Preprocessor:
    options = {
        "max_length": 40,
        "truncation": "right",
        "pad_id": 0,
        "pad_type_id": 0,
        "vocab_size": 200,
        "inputs": list(NAMES),
    }
    spec = PreprocessSpec("text", options, {"tokenizer": Digest("sha256:" + "0" * 64)})
    return TextPreprocessor(spec, {"tokenizer": tiny_checkpoint / "tokenizer.json"})


IDENTITY = BackboneIdentity(
    family="toy",
    architecture={},
    weights=Digest("sha256:" + "1" * 64),
    preprocess=Digest("sha256:" + "2" * 64),
    taps=(Tap("mean", (-1, WIDTH)),),
    inputs=tuple(TensorSpec(n, "INT64", (-1, -1)) for n in NAMES),
    padding="mask",
)

Certify = Callable[..., Certificate]


@pytest.fixture
def certified(preprocessor: Preprocessor, tmp_path: Path) -> Certify:
    def run(nodes: Nodes, **changes: Any) -> Certificate:
        graph = Graph(build(tmp_path / "graph.onnx", nodes))
        return certify(graph, replace(IDENTITY, **changes), preprocessor, samples_for(preprocessor))

    return run


def test_an_honest_graph_is_bit_equal_and_may_share(certified: Certify) -> None:
    certificate = certified(HONEST)
    assert certificate.shared
    assert certificate.measured == 0.0
    assert certificate.tolerance == 0.0
    assert certificate.provider == "CPUExecutionProvider"
    assert certificate.rows == ROWS == 64
    assert {1, 2, 3, 5, 8, 16, 33, 64} <= set(certificate.detail["batch_sizes"])
    assert certificate.detail["lengths"][0] == 1
    assert certificate.detail["lengths"][-1] == 40


def leak(name: str) -> Nodes:
    make = helper.make_node
    match name:
        case "batch mean subtracted":
            return [
                make("ReduceMean", ["pooled", "zero"], ["average"], keepdims=1),
                make("Sub", ["pooled", "average"], ["mean"]),
            ]
        case "scale of the largest row":
            return [
                make("Abs", ["pooled"], ["size"]),
                make("ReduceMax", ["size"], ["largest"], keepdims=0),
                make("Div", ["pooled", "largest"], ["mean"]),
            ]
        case "padding counted":
            return [make("CumSum", ["tokens", "axis"], ["all"]), make("Gather", ["all", "last"], ["mean"], axis=1)]
        case "first row mixed in":
            return [
                make("Gather", ["pooled", "zero"], ["first"], axis=0),
                make("Add", ["pooled", "first"], ["mean"]),
            ]
    raise AssertionError(name)


@pytest.mark.parametrize(
    "name", ["batch mean subtracted", "scale of the largest row", "padding counted", "first row mixed in"]
)
def test_a_leak_is_caught(certified: Certify, name: str) -> None:
    certificate = certified(leak(name))
    assert not certificate.shared
    assert certificate.measured > 1e-3


def test_a_leak_of_one_part_in_a_million_is_caught(certified: Certify) -> None:
    """Bit-equality is demanded: a small leak is a leak."""
    make = helper.make_node
    nodes = [
        make("ReduceMean", ["pooled", "zero"], ["average"], keepdims=1),
        make("Constant", [], ["little"], value_float=1e-6),
        make("Mul", ["average", "little"], ["drop"]),
        make("Add", ["pooled", "drop"], ["mean"]),
    ]
    certificate = certified(nodes)
    assert not certificate.shared
    assert 0 < certificate.measured < 1e-4


def large_batches_only() -> Nodes:
    """Adds a thousandth for every row beyond 40."""
    make = helper.make_node
    return [
        make("Shape", ["pooled"], ["rows"], start=0, end=1),
        make("Constant", [], ["forty"], value_ints=[40]),
        make("Sub", ["rows", "forty"], ["beyond"]),
        make("Cast", ["beyond"], ["beyond_f"], to=TensorProto.FLOAT),
        make("Relu", ["beyond_f"], ["excess"]),
        make("Constant", [], ["thousandth"], value_float=1e-3),
        make("Mul", ["excess", "thousandth"], ["drop"]),
        make("Add", ["pooled", "drop"], ["mean"]),
    ]


def test_a_leak_in_large_batches_alone_is_caught(certified: Certify) -> None:
    """Kernels change with the size of a batch: what a lane may hold is what is tried."""
    certificate = certified(large_batches_only())
    assert not certificate.shared
    assert certificate.measured > 1e-3


def test_a_certificate_speaks_of_no_more_rows_than_were_run(preprocessor: Preprocessor, tmp_path: Path) -> None:
    """Fewer if fewer are asked for or the time is over, more if more are asked for."""
    graph, samples = Graph(build(tmp_path / "graph.onnx", HONEST)), samples_for(preprocessor)
    small = Graph(build(tmp_path / "large.onnx", large_batches_only()))
    assert certify(graph, IDENTITY, preprocessor, samples, rows=16).rows == 16
    assert certify(graph, IDENTITY, preprocessor, samples, rows=300).rows == 300
    hurried = certify(small, IDENTITY, preprocessor, samples, seconds=0.0)
    assert hurried.shared
    assert hurried.rows < 40


def test_a_stated_tolerance_admits_what_stays_within_it_and_nothing_else(
    preprocessor: Preprocessor, tmp_path: Path
) -> None:
    """The function that certifies a GPU, on the CPU: the same graphs with a tolerance of one part in ten thousand."""
    samples = samples_for(preprocessor)

    def judged(nodes: Nodes) -> Certificate:
        graph = Graph(build(tmp_path / "graph.onnx", nodes))
        return certify(graph, IDENTITY, preprocessor, samples, tolerance=1e-4)

    near = judged([helper.make_node("ReduceSum", ["masked", "one"], ["mean"], keepdims=0)])
    assert near.shared
    assert 0 < near.measured <= near.tolerance == 1e-4
    for name in ("batch mean subtracted", "scale of the largest row", "padding counted", "first row mixed in"):
        assert not judged(leak(name)).shared


def test_the_cpu_demands_bits_and_a_gpu_states_a_tolerance_for_each_precision() -> None:
    """What nobody stated is held to bit-equality, which a GPU will not keep: it is refused, not guessed."""
    assert tolerance_for("CPUExecutionProvider", "fp32") == tolerance_for("CPUExecutionProvider", "fp16@12ab") == 0.0
    for provider in ("CUDAExecutionProvider", "TensorrtExecutionProvider"):
        assert 0 < tolerance_for(provider, "fp32") < tolerance_for(provider, "fp16@12ab") < 1e-2
        assert tolerance_for(provider, "int8-per-token@12ab") == 0.0


def test_a_sum_whose_order_depends_on_the_batch_is_caught(certified: Certify) -> None:
    """ONNX Runtime adds along an axis in another order for one row than for several: 1e-6, and no longer equal."""
    certificate = certified([helper.make_node("ReduceSum", ["masked", "one"], ["mean"], keepdims=0)])
    assert not certificate.shared
    assert 0 < certificate.measured < 1e-4


def test_an_answer_that_is_not_finite_never_passes(certified: Certify) -> None:
    make = helper.make_node
    certificate = certified([make("Sub", ["pooled", "pooled"], ["nil"]), make("Div", ["nil", "nil"], ["mean"])])
    assert not certificate.shared
    assert np.isfinite(certificate.measured)


def test_a_graph_that_counts_padding_is_fine_where_rows_of_one_length_meet(certified: Certify) -> None:
    """`equal-length` families are certified for what they declare: batches without padding."""
    certificate = certified(leak("padding counted"), padding="equal-length")
    assert certificate.shared
    assert certificate.detail["batches"] > 0


def test_no_batch_at_all_proves_nothing(preprocessor: Preprocessor, tmp_path: Path) -> None:
    samples = samples_for(preprocessor)
    lone = Samples(ordinary=samples.ordinary[:1], longest=())
    graph = Graph(build(tmp_path / "graph.onnx", HONEST))
    assert not certify(graph, replace(IDENTITY, padding="equal-length"), preprocessor, lone).shared


def test_dynamic_quantisation_of_a_real_export_is_caught(tiny_catalogue: Catalogue, tmp_path: Path) -> None:
    """Per-tensor dynamic int8 takes one activation scale from the whole batch: the classic cross-tenant leak."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    backbone = load_backbone(tiny_catalogue, tiny_catalogue.version(Reference("tiny")).subject)
    quantised = tmp_path / "int8.onnx"
    quantize_dynamic(
        backbone.graph, quantised, weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": TensorProto.FLOAT}
    )
    preprocessor = backbone.open_preprocessor()
    samples = samples_for(preprocessor)
    assert certify(Graph(backbone.graph), backbone.identity, preprocessor, samples).shared
    certificate = certify(Graph(quantised), backbone.identity, preprocessor, samples)
    assert not certificate.shared
    assert certificate.measured > 1e-3
