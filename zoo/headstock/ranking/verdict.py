"""From scores to an order, and what that order is expected to cost against the best choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % bootstrap interval over rows."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Standing:
    """How one candidate stands against the others."""

    quality: Estimate
    """Accuracy, or R2 of a regression, as the mean of nearest neighbours and linear probe."""
    regret: Estimate
    """Quality that choosing it is expected to lose against the best of each resample."""
    best: float
    """Share of resamples in which it is the best."""


def ranks(values: Sequence[float]) -> Floats:
    """Ranks [n] from 1 for the largest; equal values share the mean of their places."""
    column = np.asarray(values, np.float64)
    above = (column[None, :] > column[:, None]).sum(axis=1)
    equal = (column[None, :] == column[:, None]).sum(axis=1)
    shared: Floats = 1 + above + (equal - 1) / 2
    return shared


def combined(scores: Sequence[Sequence[float]]) -> Floats:
    """Mean rank [n] over several scores of the same candidates, so that no score's unit weighs more than another's."""
    mean: Floats = np.mean([ranks(one) for one in scores], axis=0)
    return mean


def standings(rows: Sequence[Sequence[Floats]], spread: Floats | None, seed: int) -> list[Standing]:
    """One per candidate, from bootstrap resamples that all candidates share.

    `rows[c]` are per-row figures [n] of candidate `c`: hits; or squared errors, with `spread` the squared deviations of
    the targets from their mean [n], and the quality is R2.
    """
    table = np.array([np.mean(parts, axis=0) for parts in rows])
    count = table.shape[1]
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=_RESAMPLES)
    quality, value = drawn @ table.T / count, table.mean(axis=1)
    if spread is not None:
        # Resamples of one value only have no spread; they say nothing about R2.
        total = drawn @ spread / count
        quality, total = quality[total > 0], total[total > 0]
        quality, value = 1 - quality / total[:, None], 1 - value / spread.mean()
    regret = quality.max(axis=1, keepdims=True) - quality
    best = (regret == 0) / (regret == 0).sum(axis=1, keepdims=True)
    return [
        Standing(
            _estimate(float(value[c]), quality[:, c]),
            _estimate(float(regret[:, c].mean()), regret[:, c]),
            float(best[:, c].mean()),
        )
        for c in range(len(rows))
    ]


def _estimate(value: float, resampled: Floats) -> Estimate:
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Estimate(value, min(float(low), value), max(float(high), value))
