"""Training rows that vote: the k nearest, each by how much nearer it is than the first that has no vote."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from headstock.backbone.export import OPSET
from headstock.errors import InvalidInput
from headstock.heads.linear import check_features

MOST_ROWS = 50_000
"""Rows that such a head may remember: each costs `width x 4` bytes and a product per answer."""
PRIOR = 0.1
"""Votes that all classes share before any row votes, so that no probability is 0."""


class Neighbours(torch.nn.Module):
    """Distance-weighted nearest neighbours (Dudani 1976); [n, width] FP32 in, logits [n, classes] FP32 out.

    A neighbour's vote is `(last - own) / (last - first)` of squared distances, `last` that of neighbour k + 1. A vote
    fades to nothing before its row drops out, and no answer hangs on the last bit of a distance. Distances are FP64: in
    FP32, where all rows are about equally far away, rounding would be a fair part of their differences.
    """

    centre: torch.Tensor
    """[width]; squares are taken from here, because far from zero nothing is left of small differences between them."""
    points: torch.Tensor
    """[rows, width], from the centre."""
    votes: torch.Tensor
    """[rows, classes], 1 at a row's class."""
    floor: torch.Tensor
    """Squared distance below which differences are noise."""

    def __init__(self, width: int, classes_of_rows: np.ndarray, classes: int, neighbours: int) -> None:
        """`classes_of_rows` [rows] are those of the features that `fit_input_statistics` will get."""
        super().__init__()
        rows = torch.from_numpy(np.ascontiguousarray(classes_of_rows, np.int64))
        if len(rows) > MOST_ROWS:
            raise InvalidInput(
                f"{len(rows)} training rows would have to be remembered; expected at most {MOST_ROWS}",
                fix="--head-option neighbours=0, which remembers one point per class",
            )
        # One more than votes is needed to weigh them; with fewer rows, all but the farthest vote.
        self.neighbours = min(neighbours, len(rows) - 1)
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("points", torch.zeros(len(rows), width))
        self.register_buffer("votes", torch.nn.functional.one_hot(rows, classes).float())
        self.register_buffer("floor", torch.ones(()))

    def fit_input_statistics(self, features: torch.Tensor) -> None:
        """Remember training features [rows, width]."""
        check_features(features, self.points.shape[1])
        wide = features.double()
        self.centre.copy_(wide.mean(dim=0))
        self.points.copy_(wide - self.centre)
        self.floor.copy_((1e-6 * self.points.double().square().sum(dim=1).mean()).clamp(min=1e-30))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logarithms of each class's share of the votes."""
        check_features(features, self.points.shape[1])
        points = self.points.double()
        order = points.square().sum(dim=1) - (features.double() - self.centre) @ (2 * points.T)
        # Squared distances but for the row's own norm, which differences do not have; ties go to the earlier row.
        ranked, index = order.sort(dim=1, stable=True)
        first, last = ranked[:, :1], ranked[:, self.neighbours : self.neighbours + 1]
        weights = (last - ranked[:, : self.neighbours] + self.floor) / (last - first + self.floor)
        counted = (weights[:, :, None] * self.votes[index[:, : self.neighbours]]).sum(dim=1)
        shared = counted + PRIOR / self.votes.shape[1]
        return (shared / shared.sum(dim=1, keepdim=True)).log().float()


def neighbours_graph(head: Neighbours) -> bytes:
    """`features` FP32 [batch, width] to `logits` FP32 [batch, classes], node by node what `Neighbours` computes."""
    from onnx import TensorProto, checker, helper, numpy_helper

    points, votes = head.points.numpy(), head.votes.numpy()
    constants: dict[str, Any] = {
        "centre": head.centre.double().numpy(),
        # FP64 is what is computed; FP32 is what is known, and half the file.
        "points": np.ascontiguousarray(2 * points.T),
        "norms": np.square(points.astype(np.float64)).sum(axis=1),
        "votes": votes.astype(np.float64),
        "floor": head.floor.double().numpy().reshape(()),
        "prior": np.float64(PRIOR / votes.shape[1]),
        "more": np.array([head.neighbours + 1], np.int64),
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "k": np.array([head.neighbours], np.int64),
        "behind_k": np.array([head.neighbours + 1], np.int64),
        "last_axis": np.array([-1], np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Cast", ["features"], ["wide"], to=TensorProto.DOUBLE),
        node("Cast", ["points"], ["points_across"], to=TensorProto.DOUBLE),
        node("Sub", ["wide", "centre"], ["places"]),
        node("MatMul", ["places", "points_across"], ["products"]),
        node("Sub", ["norms", "products"], ["order"]),
        node("TopK", ["order", "more"], ["ranked", "index"], axis=-1, largest=0, sorted=1),
        node("Slice", ["ranked", "zero", "one", "one"], ["first"]),
        node("Slice", ["ranked", "k", "behind_k", "one"], ["last"]),
        node("Slice", ["ranked", "zero", "k", "one"], ["nearest"]),
        node("Slice", ["index", "zero", "k", "one"], ["chosen"]),
        node("Sub", ["last", "nearest"], ["nearer"]),
        node("Add", ["nearer", "floor"], ["lead"]),
        node("Sub", ["last", "first"], ["range"]),
        node("Add", ["range", "floor"], ["most"]),
        node("Div", ["lead", "most"], ["weights"]),
        node("Unsqueeze", ["weights", "last_axis"], ["weights_of_rows"]),
        node("Gather", ["votes", "chosen"], ["votes_of_rows"], axis=0),
        node("Mul", ["weights_of_rows", "votes_of_rows"], ["weighted"]),
        node("ReduceSum", ["weighted", "one"], ["counted"], keepdims=0),
        node("Add", ["counted", "prior"], ["shared"]),
        node("ReduceSum", ["shared", "last_axis"], ["all"], keepdims=1),
        node("Div", ["shared", "all"], ["share"]),
        node("Log", ["share"], ["wide_logits"]),
        node("Cast", ["wide_logits"], ["logits"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "neighbours",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", points.shape[1]])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", votes.shape[1]])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    checker.check_model(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data
