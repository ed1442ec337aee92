"""Is the target the source moved, or another shape? Told by what no alignment of two moments changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_RESAMPLES = 200


@dataclass(frozen=True, slots=True)
class Shape:
    """Correlation of the features' skewness in source and target, -1 to 1, with its 95 % percentile interval.

    Wholly below zero, the target is another shape: features that rarely rise in the source rarely fall in the target.
    """

    value: float
    low: float
    high: float


def shape_agreement(source: Floats, target: Floats) -> Shape:
    """Of features [n, d] and [m, d]; 1 where fewer than three of them vary, as nothing can be told then.

    First and second moments are what CORAL makes equal, and a mirrored domain passes them. The third tells a mirrored
    domain from a moved one. The interval is a bootstrap over the rows of both.
    """
    varies = (source.std(axis=0) > 1e-6) & (target.std(axis=0) > 1e-6)
    informative = varies & (source.std(axis=0) > 0.1 * source.std(axis=0).max())
    if informative.sum() < 3:
        return Shape(1.0, 1.0, 1.0)
    own, other = source[:, informative].astype(np.float64), target[:, informative].astype(np.float64)
    random, value = np.random.default_rng(0), _correlation(own, other)
    drawn = [
        _correlation(own[random.integers(len(own), size=len(own))], other[random.integers(len(other), size=len(other))])
        for _ in range(_RESAMPLES)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Shape(value, min(value, float(low)), max(value, float(high)))


def _correlation(source: npt.NDArray[np.float64], target: npt.NDArray[np.float64]) -> float:
    own, other = _skewness(source), _skewness(target)
    if own.std() == 0 or other.std() == 0:
        return 1.0
    return float(np.corrcoef(own, other)[0, 1])


def _skewness(features: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    centred = features - features.mean(axis=0)
    # A resample may hold one value of a feature that hardly varies.
    spread = np.maximum((centred**2).mean(axis=0), 1e-24)
    result: npt.NDArray[np.float64] = (centred**3).mean(axis=0) / spread**1.5
    return result
