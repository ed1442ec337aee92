"""Rewrites a graph's products with constant weights to 8-bit integers, every vector scaled by itself."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING, Any

from headstock.errors import Unsupported
from headstock.variant.sensitive import constant_products

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_OWN = "int8::"
_FUSED = "com.microsoft"


def per_token(model: Any, keep: Set[str] = frozenset()) -> Any:
    """`model` with x W computed as s (q(x / s) Wq) t: s = max|x| / 127 per vector, t = max|W| / 127 per column.

    Token-wise dynamic quantisation (ZeroQuant: Yao et al. 2022, arXiv:2206.01861, section 4). Sums of integers are
    exact and s depends on its own vector alone, so no neighbour moves a bit. Products of two activations stay FP32,
    and so do those whose output is named in `keep`. Changes `model` and returns it. Raises `Unsupported` for a graph
    without any product that could be changed.
    """
    from onnx import helper

    products = {name: found for name, found in constant_products(model.graph).items() if name not in keep}
    rewriting = _Rewriting()
    nodes: list[Any] = []
    for node in model.graph.node:
        found = products.get(node.output[0]) if node.output else None
        nodes += [node] if found is None else rewriting.product(node, found[1])
    if not rewriting.weights:
        raise Unsupported(
            "the backbone's graph has no matrix product with constant weights, so there is nothing to make 8-bit",
            fix="--precision fp16, on a GPU",
        )
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend([*rewriting.constants(), *rewriting.weights.values()])
    drop_unused(model.graph)
    if not any(opset.domain == _FUSED for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_FUSED, 1))
    return model


def drop_unused(graph: Any) -> None:
    """Remove constants that no node of this graph and no output names; branches count as using what they name."""
    used = {value.name for value in graph.output} | _named(graph)
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _named(graph: Any) -> set[str]:
    names: set[str] = set()
    for node in graph.node:
        names.update(node.input)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                names |= _named(inner)
    return names


class _Rewriting:
    """New nodes and constants; an activation that several products read is quantised once."""

    def __init__(self) -> None:
        self.weights: dict[str, Any] = {}
        self._quantised: dict[str, tuple[str, str]] = {}

    def constants(self) -> list[Any]:
        """Scalars that all rewritten products share."""
        import numpy as np
        from onnx import numpy_helper

        values: dict[str, npt.NDArray[Any]] = {
            "middle": np.array(128, np.uint8),
            "one": np.array(1, np.float32),
            "steps": np.array(1 / 127, np.float32),
            # A vector of zeros must not be divided by zero.
            "least": np.array(1e-30, np.float32),
            "last": np.array([-1], np.int64),
        }
        return [numpy_helper.from_array(value, _OWN + name) for name, value in values.items()]

    def product(self, node: Any, weight: npt.NDArray[np.float32]) -> list[Any]:
        """The nodes that stand for `node`."""
        from onnx import helper

        nodes, (integers, scale) = self._activation(node.input[0])
        packed, columns = self._weight(node.input[1], weight)
        output = node.output[0]
        bias = node.input[2] if len(node.input) > 2 else ""
        product = f"{_OWN}{output}.product"
        nodes.append(
            helper.make_node(
                "MatMulIntegerToFloat",
                [integers, packed, f"{_OWN}one", columns, f"{_OWN}middle"],
                [product],
                domain=_FUSED,
            )
        )
        scaled = f"{_OWN}{output}.scaled" if bias else output
        nodes.append(helper.make_node("Mul", [product, scale], [scaled]))
        if bias:
            nodes.append(helper.make_node("Add", [scaled, bias], [output]))
        return nodes

    def _activation(self, name: str) -> tuple[list[Any], tuple[str, str]]:
        from onnx import helper

        if name in self._quantised:
            return [], self._quantised[name]
        own = f"{_OWN}{name}"
        self._quantised[name] = found = (f"{own}.integers", f"{own}.scale")
        steps = [
            ("Abs", [name], f"{own}.size"),
            ("ReduceMax", [f"{own}.size", f"{_OWN}last"], f"{own}.largest"),
            ("Mul", [f"{own}.largest", f"{_OWN}steps"], f"{own}.step"),
            ("Max", [f"{own}.step", f"{_OWN}least"], found[1]),
            ("Div", [name, found[1]], f"{own}.divided"),
            ("QuantizeLinear", [f"{own}.divided", f"{_OWN}one", f"{_OWN}middle"], found[0]),
        ]
        return [helper.make_node(op, inputs, [output]) for op, inputs, output in steps], found

    def _weight(self, name: str, weight: npt.NDArray[np.float32]) -> tuple[str, str]:
        import numpy as np
        from onnx import numpy_helper

        packed, columns = f"{_OWN}{name}.integers", f"{_OWN}{name}.columns"
        if packed not in self.weights:
            step = np.abs(weight).max(axis=0) / np.float32(127)
            step = np.where(step > 0, step, np.float32(1)).astype(np.float32)
            integers = np.ascontiguousarray(np.rint(weight / step).astype(np.int8))
            self.weights[packed] = numpy_helper.from_array(integers, packed)
            self.weights[columns] = numpy_helper.from_array(step, columns)
        return packed, columns
