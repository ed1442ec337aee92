"""The memory of the anomaly head: a few places that stand for all normal ones."""

from __future__ import annotations

import numpy as np
import torch

from headstock.errors import InvalidInput

_PROJECTED = 128
"""Width in which places are chosen: random projections keep distances well enough for that (Johnson, Lindenstrauss)."""
_CHUNK = 4096


class MemoryBank(torch.nn.Module):
    """Distance of every place to the nearest remembered one; [n, h, w, d] FP32 in, [n, h, w] FP32 out.

    Distances are in units of the threshold. Nothing is trained by gradient.
    """

    centre: torch.Tensor
    """[d]; places are taken from here, because far from zero nothing is left of small differences between squares."""
    points: torch.Tensor
    """[places, d], from the centre."""
    threshold: torch.Tensor
    """The distance that counts as 1."""

    def __init__(
        self, width: int, normal: np.ndarray, *, neighbourhood: int, share: float, most: int, quantile: float
    ) -> None:
        """`normal` BOOL [n] says which rows of the features for `fit_input_statistics` are to be remembered."""
        super().__init__()
        self.neighbourhood = neighbourhood
        self._normal = torch.from_numpy(np.ascontiguousarray(normal))
        self._share, self._most, self._quantile = share, most, quantile
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("points", torch.zeros(0, width))
        self.register_buffer("threshold", torch.ones(()))

    def fit_input_statistics(self, features: torch.Tensor) -> None:
        """Choose the places to remember from features [n, h, w, d], with torch's generator, and set the threshold."""
        normal = self.averaged(features[self._normal])
        rows, places = len(normal), normal.shape[1] * normal.shape[2]
        if rows < 2:
            raise InvalidInput(
                f"{rows} of the training rows are normal; the threshold needs at least two",
                fix="give more normal rows",
            )
        self.centre = normal.double().mean(dim=(0, 1, 2)).float()
        normal = normal - self.centre
        flat = normal.reshape(rows * places, -1)
        count = max(1, min(round(self._share * len(flat)), self._most))
        chosen = coreset(flat, count)
        self.points = flat[chosen].clone()
        scores = self._scores_of_others(normal, chosen // places)
        threshold = torch.quantile(scores.double(), self._quantile)
        # Samples that are all alike have distance 0 everywhere; any difference is then an anomaly.
        self.threshold = threshold.clamp(min=1e-12).float()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Distances [n, h, w]."""
        return nearest(self.averaged(features) - self.centre, self.points) / self.threshold

    def averaged(self, features: torch.Tensor) -> torch.Tensor:
        """Every place as the mean of its neighbourhood, less at the rim; the same shape."""
        if features.ndim != 4 or features.shape[-1] != self.points.shape[1]:
            raise InvalidInput(
                f"features have shape {list(features.shape)}; this head takes [n, height, width, "
                f"{self.points.shape[1]}]",
                fix="choose a tap with a map of vectors: --tap feature_map",
            )
        edge = self.neighbourhood
        planes = features.permute(0, 3, 1, 2)
        means = torch.nn.functional.avg_pool2d(planes, edge, 1, edge // 2, count_include_pad=False)
        return means.permute(0, 2, 3, 1)

    def _scores_of_others(self, normal: torch.Tensor, owners: torch.Tensor) -> torch.Tensor:
        """Each normal row's score [n] against what is remembered of the other rows."""
        scores = []
        for row, places in enumerate(normal):
            others = self.points[owners != row]
            # All that is remembered may be of one row; it is then judged by itself.
            scores.append(nearest(places, others if len(others) else self.points).max())
        return torch.stack(scores)


def nearest(places: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Distance [...] of places [..., d] to the nearest of points [m, d]."""
    norms = points.square().sum(dim=1)
    flat = places.reshape(-1, places.shape[-1])
    found = [torch.argmin(norms - 2 * (part @ points.T), dim=1) for part in torch.split(flat, _CHUNK)]
    index = torch.cat(found)
    # The difference itself, not |x|^2 - 2 x.p + |p|^2: near zero nothing would be left of that.
    distances = (flat - points[index]).square().sum(dim=1).sqrt()
    return distances.reshape(places.shape[:-1])


def coreset(points: torch.Tensor, count: int) -> torch.Tensor:
    """Indices [count] of points that leave no other far away: greedily the farthest one (Sener, Savarese 2018)."""
    if count >= len(points):
        return torch.arange(len(points))
    if points.shape[1] > _PROJECTED:
        points = points @ torch.randn(points.shape[1], _PROJECTED) / _PROJECTED**0.5
    chosen = torch.zeros(count, dtype=torch.int64)
    chosen[0] = torch.randint(len(points), ())
    distances = (points - points[chosen[0]]).square().sum(dim=1)
    for i in range(1, count):
        chosen[i] = distances.argmax()
        distances = torch.minimum(distances, (points - points[chosen[i]]).square().sum(dim=1))
    return chosen
