"""A linear map whose output is brought to a target's own scale: what regression trains."""

from __future__ import annotations

import numpy as np
import torch

from headstock.heads.linear import StandardisedLinear


class ScaledLinear(StandardisedLinear):
    """A `StandardisedLinear` that learns the standardised target; [n, width] FP32 in, [n, 1] FP32 in its unit out."""

    target_mean: torch.Tensor
    target_scale: torch.Tensor

    def __init__(self, width: int, targets: np.ndarray) -> None:
        """Take mean and spread of the training targets [n]; it starts by answering their mean."""
        super().__init__(width, 1)
        spread, mean = float(np.std(targets, dtype=np.float64)), float(np.mean(targets, dtype=np.float64))
        self.register_buffer("target_mean", torch.tensor(mean, dtype=torch.float32))
        # All training targets equal: their mean is the answer, and its error is counted in plain units.
        self.register_buffer("target_scale", torch.tensor(spread if spread > 0 else 1.0, dtype=torch.float32))
        torch.nn.init.zeros_(self.linear.weight)
        torch.nn.init.zeros_(self.linear.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Predicted targets [n, 1]."""
        return super().forward(features) * self.target_scale + self.target_mean

    def standardised_error(self, predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Errors [n] in units of the training targets' spread."""
        return (predicted - truth) / self.target_scale

    def start_from(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Answer as the map `weight` [width, 1] and `bias` [1] on raw features does, FP64, in the target's unit."""
        scale = self.target_scale.double()
        super().start_from(weight / scale, (bias - self.target_mean.double()) / scale)

    def folded(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight [width, 1] and bias [1] of the same map on raw features, FP64."""
        weight, bias = super().folded()
        scale = self.target_scale.double()
        return weight * scale, bias * scale + self.target_mean.double()
