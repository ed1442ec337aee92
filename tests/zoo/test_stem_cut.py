"""Two graphs are cut where they part, whatever they call their values; both halves together are the whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from headstock.graph import Graph
from headstock.preprocess import Row
from headstock.stem.composed import ComposedGraph
from headstock.stem.cut import Parts, cut
from headstock.stem.fingerprint import fingerprints

WIDTH = 8


class Vectors:
    """A preprocessor of vectors."""

    def collate(self, rows: Sequence[Row]) -> dict[str, Any]:
        return {"x": np.stack([row.tensors["x"] for row in rows])}


ROWS = [Row({"x": np.random.default_rng(i).normal(size=WIDTH).astype(np.float32)}, 1) for i in range(6)]


def matrix(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).normal(size=shape or (WIDTH, WIDTH)).astype(np.float32)


def network(path: Path, top: int, *, prefix: str = "", tap: bool = False, bottom: int = 1) -> Path:
    """tanh(x B), another layer scaled by what the shape says; with `tap` the lower layer is an output too.

    The weights follow from the seeds `bottom` and `top`; inner names begin with `prefix`.
    """
    p = prefix
    weights = {"b": matrix(bottom), "b2": matrix(bottom + 100), "t": matrix(top), "u": matrix(top + 100, WIDTH)}
    nodes = [
        # Follows from weights, but not from any row: it cannot pass.
        helper.make_node("MatMul", [f"{p}b", f"{p}b2"], [f"{p}product"]),
        helper.make_node("MatMul", ["x", f"{p}product"], [f"{p}lower"]),
        helper.make_node("Tanh", [f"{p}lower"], ["low" if tap else f"{p}low"]),
        # Follows from no weights: it is computed again above.
        helper.make_node("Shape", ["x"], [f"{p}shape"]),
        helper.make_node("Cast", [f"{p}shape"], [f"{p}sizes"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMin", [f"{p}sizes"], [f"{p}least"], keepdims=0),
        helper.make_node("Clip", [f"{p}least", "", f"{p}one"], [f"{p}scale"]),
        helper.make_node("MatMul", ["low" if tap else f"{p}low", f"{p}t"], [f"{p}upper"]),
        helper.make_node("Mul", [f"{p}upper", f"{p}scale"], [f"{p}scaled"]),
        helper.make_node("Add", [f"{p}scaled", f"{p}u"], [f"{p}sum"]),
        helper.make_node("MatMul", [f"{p}sum", f"{p}product"], ["y"]),
    ]
    outputs = ["low", "y"] if tap else ["y"]
    graph = helper.make_graph(
        nodes,
        f"{p}network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", WIDTH])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", WIDTH]) for name in outputs],
        [numpy_helper.from_array(array, f"{p}{name}") for name, array in weights.items()]
        + [numpy_helper.from_array(np.array(1, np.float32), f"{p}one")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def halves(tmp_path: Path, child: Path, parent: Path) -> Parts | None:
    folder = tmp_path / f"cut-{child.stem}"
    folder.mkdir()
    return cut(child, parent, Vectors(), ROWS, folder)  # type: ignore[arg-type]


def run(graph: Graph, *outputs: str) -> list[bytes]:
    return [array.tobytes() for array in graph.run(Vectors().collate(ROWS), outputs)]


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    return network(tmp_path / "parent.onnx", top=2)


def test_both_halves_together_give_the_bits_of_the_whole(tmp_path: Path, parent: Path) -> None:
    child = network(tmp_path / "child.onnx", top=3, prefix="other.")
    parts = halves(tmp_path, child, parent)
    assert parts is not None
    assert len(parts.values) == 1
    for whole, upper in ((child, parts.child), (parent, parts.parent)):
        assert run(Graph(whole), "y") == run(ComposedGraph(parts.stem, upper), "y")
        assert run(Graph(whole), "y") == run(ComposedGraph(parts.stem, upper, apart=True), "y")
    assert run(Graph(child), "y") != run(Graph(parent), "y")


def test_the_stem_holds_what_both_have_and_the_upper_part_the_rest(tmp_path: Path, parent: Path) -> None:
    parts = halves(tmp_path, network(tmp_path / "child.onnx", top=3), parent)
    assert parts is not None
    stem, upper = (onnx.load(str(path)).graph for path in (parts.stem, parts.child))
    assert sorted(tuple(t.dims) for t in stem.initializer) == [(WIDTH, WIDTH)] * 2
    # The product of the lower weights is no row's, so who needs it above computes it there.
    assert sorted(tuple(t.dims) for t in upper.initializer) == [(), (WIDTH,), *[(WIDTH, WIDTH)] * 3]
    assert [value.name for value in upper.input] == ["x", *parts.values]
    dims = upper.input[1].type.tensor_type.shape.dim
    assert (dims[0].dim_param, dims[1].dim_value) == ("batch", WIDTH)


def test_siblings_have_the_same_stem_byte_by_byte_whatever_their_graphs_call_things(
    tmp_path: Path, parent: Path
) -> None:
    renamed = network(tmp_path / "renamed.onnx", top=2, prefix="p.")
    found = [
        halves(tmp_path, network(tmp_path / "a.onnx", top=3), parent),
        halves(tmp_path, network(tmp_path / "b.onnx", top=4, prefix="q."), renamed),
    ]
    first, second = (parts.stem.read_bytes() for parts in found if parts is not None)
    assert first == second
    assert found[0] is not None
    assert found[1] is not None
    assert found[0].values == found[1].values
    assert found[0].child.read_bytes() != found[1].child.read_bytes()


def test_an_output_below_the_cut_is_passed_on(tmp_path: Path) -> None:
    parent = network(tmp_path / "parent.onnx", top=2, tap=True)
    child = network(tmp_path / "child.onnx", top=3, tap=True)
    parts = halves(tmp_path, child, parent)
    assert parts is not None
    assert run(Graph(child), "low", "y") == run(ComposedGraph(parts.stem, parts.child), "low", "y")


def test_graphs_that_differ_from_the_bottom_are_not_cut(tmp_path: Path, parent: Path) -> None:
    assert halves(tmp_path, network(tmp_path / "child.onnx", top=2, bottom=9), parent) is None


def test_graphs_that_are_the_same_to_the_top_have_nothing_to_cut_off_that_computes(
    tmp_path: Path, parent: Path
) -> None:
    """All of it is stem; what is above only passes it on."""
    parts = halves(tmp_path, network(tmp_path / "same.onnx", top=2, prefix="z."), parent)
    assert parts is not None
    assert parts.share == 1.0
    assert [node.op_type for node in onnx.load(str(parts.child)).graph.node] == ["Identity"]


def test_fingerprints_follow_from_what_is_computed_and_not_from_names(tmp_path: Path) -> None:
    one, renamed, other = (
        onnx.load(str(network(tmp_path / f"{name}.onnx", top, prefix=prefix)))
        for name, top, prefix in (("one", 2, ""), ("renamed", 2, "p."), ("other", 3, ""))
    )
    prints = [fingerprints(model) for model in (one, renamed, other)]
    assert prints[0]["y"] == prints[1]["y"] != prints[2]["y"]
    assert prints[0]["low"] == prints[1]["p.low"] == prints[2]["low"]
    one.graph.node[4].attribute[0].i = TensorProto.DOUBLE
    changed = fingerprints(one)
    assert changed["shape"] == prints[0]["shape"]
    assert changed["sizes"] != prints[0]["sizes"]
