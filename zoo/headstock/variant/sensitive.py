"""Finds the products of a graph that eight bits would spoil, so that they stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstock.preprocess import Preprocessor, Row

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

WORST = 0.2
"""Largest share of its own length that any one vector may be off by after a product in eight bits."""
USUAL = 0.03
"""The same of the median vector."""


def constant_products(graph: Any) -> dict[str, tuple[str, Floats]]:
    """Products of an activation with a constant matrix: output name to (activation, weight [in, out])."""
    import onnx
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    found = {}
    for node in graph.node:
        weight = constants.get(node.input[1]) if _is_product(node) else None
        if weight is None or weight.data_type != onnx.TensorProto.FLOAT or len(weight.dims) != 2:
            continue
        array = numpy_helper.to_array(weight)
        flipped = any(a.name == "transB" and a.i for a in node.attribute)
        found[node.output[0]] = (node.input[0], array.T if flipped else array)
    return found


def sensitive_products(
    path: Path, preprocessor: Preprocessor, rows: Sequence[Row], *, fixed: bool = False
) -> frozenset[str]:
    """Output names of products whose vectors, on these rows, eight bits move further than `WORST` or `USUAL` allow.

    Every vector has a scale of its own, or all share one where it is `fixed` by the range of these rows.

    Typical are the values of attention, where separators hold vectors close to zero, and the layer behind a GELU,
    whose few large activations leave the others no steps. One pass of the plain graph tells, with no training data.
    """
    import numpy as np
    import onnx

    model = onnx.load(str(path))
    products = constant_products(model.graph)
    read = sorted({activation for activation, _ in products.values()})
    session = _tapped(model, read)
    packed = {name: _columns(weight) for name, (_, weight) in products.items()}
    values: dict[str, list[Floats]] = {name: [] for name in read}
    for row in rows:
        feeds = dict(preprocessor.collate([row]))
        for name, value in zip(read, session.run(read, feeds) if read else [], strict=True):
            values[name].append(value.reshape(-1, value.shape[-1]))
    vectors = {name: np.concatenate(found) for name, found in values.items()}
    errors = {
        name: _error(vectors[activation].reshape(-1, len(weight)), weight, packed[name], fixed)
        for name, (activation, weight) in products.items()
    }
    return frozenset(n for n, found in errors.items() if found.max() > WORST or float(np.median(found)) > USUAL)


def _tapped(model: Any, names: Sequence[str]) -> Any:
    """A session that can give inner values; opened from bytes that never touch the disk."""
    import onnx
    import onnxruntime

    known = {value.name for value in (*model.graph.output, *model.graph.input)}
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names if name not in known
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _is_product(node: Any) -> bool:
    if node.op_type == "MatMul":
        return True
    options = {a.name: (a.f if a.name in ("alpha", "beta") else a.i) for a in node.attribute}
    return (
        node.op_type == "Gemm"
        and options.get("alpha", 1.0) == options.get("beta", 1.0) == 1.0
        and not options.get("transA", 0)
    )


def _error(rows: Floats, weight: Floats, packed: Floats, fixed: bool) -> Floats:
    """Per vector, the length of what eight bits change of its product, over the product's length."""
    import numpy as np

    if fixed:
        # Zero keeps a step of its own.
        step = np.float32(max(float(rows.max()), 0.0) - min(float(rows.min()), 0.0)) / np.float32(255)
    else:
        step = np.abs(rows).max(axis=1, keepdims=True) / np.float32(127)
    step = np.maximum(step, np.float32(1e-30))
    exact = rows @ weight
    moved = np.linalg.norm(exact - (np.rint(rows / step) * step) @ packed, axis=1)
    error: Floats = moved / np.maximum(np.linalg.norm(exact, axis=1), np.float32(1e-30))
    return error


def _columns(weight: Floats) -> Floats:
    """The weight as its eight bits say, per column."""
    import numpy as np

    step = np.abs(weight).max(axis=0) / np.float32(127)
    step = np.where(step > 0, step, np.float32(1)).astype(np.float32)
    packed: Floats = np.rint(weight / step) * step
    return packed
