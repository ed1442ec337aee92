"""The head that adaptation grows: a feature network and a classifier on standardised backbone features."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from headstock.backbone.export import OPSET
from headstock.heads.linear import check_features


class AdaptedHead(torch.nn.Module):
    """Features [n, width] FP32 to logits [n, classes]: standardised, two hidden layers, a linear classifier."""

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, width: int, classes: int, hidden: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.first = torch.nn.Linear(width, hidden)
        self.second = torch.nn.Linear(hidden, hidden)
        self.classifier = torch.nn.Linear(hidden, classes)

    def set_input_statistics(self, features: torch.Tensor) -> None:
        """Set `mean` and one common `scale` from source features [n, width]."""
        check_features(features, len(self.mean))
        self.mean.copy_(features.mean(dim=0))
        self.scale.fill_(max(float((features - self.mean).square().mean().sqrt()), 1e-6))

    def represent(self, features: torch.Tensor) -> torch.Tensor:
        """What the domains are compared on, [n, hidden]."""
        check_features(features, len(self.mean))
        inner = torch.relu(self.first((features - self.mean) / self.scale))
        return torch.relu(self.second(inner))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits [n, classes]."""
        logits: torch.Tensor = self.classifier(self.represent(features))
        return logits

    def graph(self) -> bytes:
        """The same as an ONNX file: `features` FP32 [batch, width] to `logits` FP32 [batch, classes]."""
        from onnx import TensorProto, checker, helper, numpy_helper

        node = helper.make_node
        nodes = [node("Sub", ["features", "mean"], ["centred"]), node("Div", ["centred", "scale"], ["x"])]
        constants: dict[str, npt.NDArray[np.float32]] = {"mean": self.mean.numpy(), "scale": self.scale.numpy()}
        into = "x"
        for name, layer in (("first", self.first), ("second", self.second), ("logits", self.classifier)):
            # MatMul and Add, not Gemm: a row's sums then do not depend on what it is batched with.
            constants[f"{name}.weight"] = np.ascontiguousarray(layer.weight.detach().numpy().T)
            constants[f"{name}.bias"] = layer.bias.detach().numpy()
            out = name if name == "logits" else f"{name}.sum"
            nodes += [
                node("MatMul", [into, f"{name}.weight"], [f"{name}.product"]),
                node("Add", [f"{name}.product", f"{name}.bias"], [out]),
            ]
            if name != "logits":
                nodes.append(node("Relu", [out], [into := f"{name}.relu"]))
        graph = helper.make_graph(
            nodes,
            "adapted",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", len(self.mean)])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", self.classifier.out_features])],
            [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
        checker.check_model(model)
        data: bytes = model.SerializeToString(deterministic=True)
        return data
