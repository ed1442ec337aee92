"""The linear module that most heads train and a head bank can stack."""

from __future__ import annotations

import numpy as np
import torch

from headstock.errors import InvalidInput
from headstock.hookspecs import LinearForm


class StandardisedLinear(torch.nn.Module):
    """A linear map of standardised features; [n, width] FP32 in, [n, out] FP32 out.

    With `per_position` it takes [n, positions, width] too, and answers for each position. Features of a frozen backbone
    differ in scale by orders of magnitude, which slows a linear probe down. `mean` and `scale` are buffers, not
    parameters, and `folded` folds them in: serving sees one plain linear map.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, width: int, out: int, *, per_position: bool = False) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.linear = torch.nn.Linear(width, out)
        self._axes = (2, 3) if per_position else (2,)

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
        check_features(features, len(self.mean), self._axes)
        outputs: torch.Tensor = self.linear((features - self.mean) / self.scale)
        return outputs

    def start_from(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Answer as the map `weight` [width, k] and `bias` [k] on raw features does, FP64, in the first k outputs.

        The inverse of `folded`: input statistics stay what they are. Outputs after the first k are not touched.
        """
        k = len(bias)
        with torch.no_grad():
            self.linear.weight[:k] = (weight * self.scale.double()[:, None]).T.float()
            self.linear.bias[:k] = (bias + self.mean.double() @ weight).float()

    def folded(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight [width, out] and bias [out] of the same map on raw features, FP64."""
        scaled = self.linear.weight.detach().double() / self.scale.double()
        return scaled.T, self.linear.bias.detach().double() - scaled @ self.mean.double()


def linear_form(head: torch.nn.Module) -> LinearForm:
    """`row @ weight + bias` equal to a `StandardisedLinear`, folded in double precision."""
    if not isinstance(head, StandardisedLinear):
        raise TypeError(f"this is a bug: {type(head).__name__} is not a StandardisedLinear")
    return form_of(*head.folded())


def form_of(weight: torch.Tensor, bias: torch.Tensor) -> LinearForm:
    """Weight [width, out] and bias [out] as a head bank stores them."""
    return LinearForm(
        np.ascontiguousarray(weight.detach().float().numpy()),
        np.ascontiguousarray(bias.detach().float().numpy()),
    )


def check_features(features: torch.Tensor, width: int, axes: tuple[int, ...] = (2,)) -> None:
    """Raise `InvalidInput` unless features are [n, width]: a head for whole samples on a tap of single positions.

    `axes` are the numbers of axes that are allowed; the last is always the width.
    """
    if features.ndim not in axes or features.shape[-1] != width:
        expected = f"[n, {width}]" if 3 not in axes else f"[n, positions, {width}]"
        raise InvalidInput(
            f"features have shape {list(features.shape)}; this head takes {expected}",
            fix="choose a tap with one vector per sample: --tap mean, cls or pooled, whichever the backbone has"
            if 3 not in axes
            else "choose a tap with one vector per position: --tap tokens or frames, whichever the backbone has",
        )
