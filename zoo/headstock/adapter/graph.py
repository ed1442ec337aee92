"""Rewrites a backbone's exported graph so that each row of a batch may have an adapter of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstock.errors import InvalidInput, Unsupported

if TYPE_CHECKING:
    from headstock.adapter.parameters import Floats

INDEX = "adapter"
"""Graph input [batch] INT64: each row's slot in the stacked inputs; slot 0 holds zeros, which is no adapter."""

_LIKE = "adapter::"


def lora_graph(graph: Path, weights: Mapping[str, Floats], rank: int) -> bytes:
    """The graph in `graph` with y = x W + (x A[i]) B[i] at each of the named layers; equal arguments, equal bytes.

    Extra inputs, in this order: `adapter`, then per layer in order of name `NAME.A` [slots, in, rank] and `NAME.B`
    [slots, rank, out], FP32. `weights` are the layers' own weights [in, out]: the exporter folds their names away, so
    a layer is found by its numbers. Raises `InvalidInput` for two layers with the same numbers and `Unsupported` for a
    layer that the graph does not have as a matrix product.
    """
    import onnx

    model = onnx.load(str(graph))
    places = _places(model.graph, weights)
    taken = {value.name for value in model.graph.input}
    index = onnx.helper.make_tensor_value_info(INDEX, onnx.TensorProto.INT64, ["batch"])
    inputs, constants, first = [index], [], _first_nodes()
    after: dict[int, list[Any]] = {}
    for name in sorted(weights):
        wide, out = weights[name].shape
        for part, shape in (("A", [wide, rank]), ("B", [rank, out])):
            inputs.append(
                onnx.helper.make_tensor_value_info(f"{name}.{part}", onnx.TensorProto.FLOAT, ["slots", *shape])
            )
            first.append(onnx.helper.make_node("Gather", [f"{name}.{part}", INDEX], [f"{_LIKE}{name}.{part}"], axis=0))
        constants.append(onnx.helper.make_tensor(f"{_LIKE}{name}.width", onnx.TensorProto.INT64, [2], [-1, wide]))
        first.append(
            onnx.helper.make_node("Concat", [f"{_LIKE}batch", f"{_LIKE}{name}.width"], [f"{_LIKE}{name}.shape"], axis=0)
        )
        for place in places[name]:
            after[place] = _changed(model.graph.node[place], name, f"{_LIKE}{name}.{place}")
    if clash := sorted(taken & {value.name for value in inputs}):
        raise Unsupported(f"the backbone has inputs {clash}, names that the adapters' graph needs")
    nodes = list(first)
    for place, node in enumerate(model.graph.node):
        nodes += [node, *after.get(place, ())]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.input.extend(inputs)
    model.graph.initializer.extend(constants)
    onnx.checker.check_model(model, full_check=False)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _first_nodes() -> list[Any]:
    from onnx import helper

    return [helper.make_node("Shape", [INDEX], [f"{_LIKE}batch"])]


def _changed(node: Any, name: str, prefix: str) -> list[Any]:
    """Nodes that follow `node` and add the change to its output, under the output's name."""
    from onnx import helper

    output, x = node.output[0], node.input[0]
    node.output[0] = f"{prefix}.base"
    return [
        # Some layers see [batch * positions, in]: each row's positions are brought together again.
        helper.make_node("Reshape", [x, f"{_LIKE}{name}.shape"], [f"{prefix}.x"]),
        helper.make_node("MatMul", [f"{prefix}.x", f"{_LIKE}{name}.A"], [f"{prefix}.low"]),
        helper.make_node("MatMul", [f"{prefix}.low", f"{_LIKE}{name}.B"], [f"{prefix}.rows"]),
        helper.make_node("Shape", [f"{prefix}.base"], [f"{prefix}.like"]),
        helper.make_node("Reshape", [f"{prefix}.rows", f"{prefix}.like"], [f"{prefix}.delta"]),
        helper.make_node("Add", [f"{prefix}.base", f"{prefix}.delta"], [output]),
    ]


def _places(graph: Any, weights: Mapping[str, Floats]) -> dict[str, list[int]]:
    """Per layer the positions of its products; more than one where the network uses a layer several times."""
    names: dict[str, str] = {}
    for name, weight in weights.items():
        other = names.setdefault(_key(weight), name)
        if other != name:
            raise InvalidInput(f"layers {other!r} and {name!r} have equal weights, so the graph cannot tell them apart")
    shapes = {tuple(weight.shape) for weight in weights.values()}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    places: dict[str, list[int]] = {name: [] for name in weights}
    for place, node in enumerate(graph.node):
        if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in constants:
            continue
        found = names.get(_key_of(node, constants[node.input[1]], shapes))
        if found is not None:
            places[found].append(place)
    if lost := sorted(name for name, found in places.items() if not found):
        raise Unsupported(
            f"{len(lost)} of the layers ({', '.join(map(repr, lost[:3]))}) are no matrix product of the exported graph",
            fix="choose linear layers of the backbone as targets",
        )
    return places


def _key_of(node: Any, tensor: Any, shapes: set[tuple[int, ...]]) -> str:
    from onnx import numpy_helper

    options = {attribute.name: attribute for attribute in node.attribute}
    flipped = "transB" in options and options["transB"].i == 1
    plain = ("transA" not in options or options["transA"].i == 0) and (
        "alpha" not in options or options["alpha"].f == 1.0
    )
    dims = tuple(reversed(tensor.dims)) if flipped else tuple(tensor.dims)
    if not plain or dims not in shapes:
        return ""
    weight = numpy_helper.to_array(tensor)
    return _key(weight.T if flipped else weight)


def _key(weight: Floats) -> str:
    import numpy as np

    data = np.ascontiguousarray(weight, dtype=np.float32)
    return f"{data.shape} {hashlib.sha256(data.tobytes()).hexdigest()}"
