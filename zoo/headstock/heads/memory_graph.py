"""The anomaly head's search as an ONNX graph, node by node what `MemoryBank` computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from headstock.backbone.export import OPSET

if TYPE_CHECKING:
    from headstock.heads.memory_bank import MemoryBank


def memory_graph(head: MemoryBank) -> bytes:
    """`features` FP32 [batch, height, width, d] to `distances` FP32 [batch, height, width]; one head, one file."""
    from onnx import TensorProto, checker, helper, numpy_helper

    points = head.points.numpy()
    constants: dict[str, Any] = {
        "centre": head.centre.numpy(),
        "points": points,
        "points_across": np.ascontiguousarray(2 * points.T),
        "norms": np.square(points).sum(axis=1),
        "threshold": head.threshold.numpy().reshape(()),
        "last": np.array([-1], np.int64),
    }
    rim = head.neighbourhood // 2
    node = helper.make_node
    nodes = [
        node("Transpose", ["features"], ["planes"], perm=[0, 3, 1, 2]),
        node(
            "AveragePool",
            ["planes"],
            ["means"],
            kernel_shape=[head.neighbourhood] * 2,
            pads=[rim] * 4,
            strides=[1, 1],
            count_include_pad=0,
        ),
        node("Transpose", ["means"], ["averaged"], perm=[0, 2, 3, 1]),
        node("Sub", ["averaged", "centre"], ["places"]),
        node("MatMul", ["places", "points_across"], ["products"]),
        # Squared distances but for the place's own norm, which does not decide which point is nearest.
        node("Sub", ["norms", "products"], ["order"]),
        node("ArgMin", ["order"], ["index"], axis=-1, keepdims=0),
        node("Gather", ["points", "index"], ["nearest"], axis=0),
        node("Sub", ["places", "nearest"], ["difference"]),
        node("ReduceL2", ["difference", "last"], ["length"], keepdims=0),
        node("Div", ["length", "threshold"], ["distances"]),
    ]
    shape = ["batch", "height", "width"]
    graph = helper.make_graph(
        nodes,
        "memory",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [*shape, points.shape[1]])],
        [helper.make_tensor_value_info("distances", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    checker.check_model(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data
