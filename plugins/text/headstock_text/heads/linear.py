"""The one linear module that both text heads train and a head bank can stack."""

from __future__ import annotations

import numpy as np
import torch

from headstock.errors import InvalidInput
from headstock.hookspecs import LinearForm


class StandardisedLinear(torch.nn.Module):
    """A linear map of standardised features; [n, width] FP32 in, [n, out] FP32 out.

    Features of a frozen backbone differ in scale by orders of magnitude, which slows a linear probe down. `mean` and
    `scale` are buffers, not parameters, and `linear_form` folds them in: serving sees one plain linear map.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.linear = torch.nn.Linear(width, out)

    def fit_input_statistics(self, features: torch.Tensor) -> None:
        """Set `mean` and `scale` from training features [n, width]; a trainer calls this once before it trains."""
        check_features(features, len(self.mean))
        deviation, mean = torch.std_mean(features.double(), dim=0, correction=0)
        # A feature that never varies carries nothing; dividing by its noise would make it everything.
        floor = 1e-6 * deviation.max().clamp(min=1.0)
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(deviation > floor, deviation, torch.ones_like(deviation)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Raw outputs [n, out]."""
        check_features(features, len(self.mean))
        outputs: torch.Tensor = self.linear((features - self.mean) / self.scale)
        return outputs


def linear_form(head: torch.nn.Module) -> LinearForm:
    """`row @ weight + bias` equal to a `StandardisedLinear`, folded in double precision."""
    if not isinstance(head, StandardisedLinear):
        raise TypeError(f"this is a bug: {type(head).__name__} is not a StandardisedLinear")
    scaled = head.linear.weight.detach().double() / head.scale.double()
    bias = head.linear.bias.detach().double() - scaled @ head.mean.double()
    return LinearForm(
        weight=np.ascontiguousarray(scaled.T.float().numpy()),
        bias=np.ascontiguousarray(bias.float().numpy()),
    )


def check_features(features: torch.Tensor, width: int) -> None:
    """Raise `InvalidInput` unless features are [n, width]: a head for whole texts on a tap of single tokens."""
    if features.ndim != 2 or features.shape[1] != width:
        raise InvalidInput(
            f"features have shape {list(features.shape)}; this head takes [n, {width}]",
            fix="choose a tap with one vector per text: --tap mean or --tap cls",
        )
