"""Class means as a module without trainable parameters."""

from __future__ import annotations

import numpy as np
import torch

from headstock.heads.linear import check_features, form_of
from headstock.hookspecs import LinearForm


class Prototypes(torch.nn.Module):
    """One point per class; [n, width] FP32 in, [n, classes] FP32 out.

    Logits are negative squared distances over a temperature, but for what all classes share: each is how much nearer
    its point is than the middle of all points.
    """

    points: torch.Tensor
    temperature: torch.Tensor

    def __init__(self, width: int, classes_of_rows: np.ndarray, classes: int, temperature: float) -> None:
        """`classes_of_rows` [n] are those of the features that `fit_input_statistics` will get; 0 measures."""
        super().__init__()
        self._rows = torch.from_numpy(np.ascontiguousarray(classes_of_rows, np.int64))
        self._asked = temperature
        self.register_buffer("points", torch.zeros(classes, width))
        self.register_buffer("temperature", torch.tensor(temperature or 1.0))

    def fit_input_statistics(self, features: torch.Tensor) -> None:
        """Set the points from training features [n, width], and the temperature if none was asked for."""
        check_features(features, self.points.shape[1])
        wide = features.double()
        sums = torch.zeros(self.points.shape, dtype=torch.float64).index_add_(0, self._rows, wide)
        counts = torch.bincount(self._rows, minlength=len(sums)).clamp(min=1)
        points = sums / counts[:, None]
        self.points.copy_(points)
        if not self._asked:
            self.temperature.copy_(_measured(wide, points, self._rows))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits [n, classes]."""
        check_features(features, self.points.shape[1])
        weight, bias = self.folded()
        return features @ weight.float() + bias.float()

    def folded(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight [width, classes] and bias [classes], FP64."""
        points, temperature = self.points.double(), self.temperature.double()
        # Measured from the middle: features often have a large part in common, whose rounding errors would drown what
        # tells the classes apart.
        middle = points.mean(dim=0)
        apart = points - middle
        return 2 * apart.T / temperature, -(apart * (points + middle)).sum(dim=1) / temperature


def linear_form(head: torch.nn.Module) -> LinearForm:
    """`row @ weight + bias` equal to `Prototypes`."""
    if not isinstance(head, Prototypes):
        raise TypeError(f"this is a bug: {type(head).__name__} is not Prototypes")
    return form_of(*head.folded())


def _measured(features: torch.Tensor, points: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Twice the variance per feature within the classes: what makes the softmax a posterior of equal round clusters.

    With one row per class there is no spread within; then the spread of the points stands in for it.
    """
    within = (features - points[rows]).square().mean()
    between = (points - points.mean(dim=0)).square().mean()
    chosen = within if within > 1e-9 * between else between
    return 2 * chosen.clamp(min=1e-30)
