"""Intervals: Wilson's for shares, percentile bootstrap over rows for everything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from headstock.errors import InvalidInput
from headstock.hookspecs import Metric

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

RESAMPLES = 1000
_Z = 1.959963984540054
_CELLS = 4_000_000


def wilson(name: str, hits: int, n: int) -> Metric:
    """A share of `n` trials with Wilson's interval, which stays within 0 and 1 and has width at 0 and 1 too."""
    if n == 0:
        return Metric(name, 0.0, 0.0, 1.0, "wilson")
    share, z2 = hits / n, _Z * _Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * float(np.sqrt(share * (1 - share) / n + z2 / (4 * n * n)))
    return Metric(name, share, max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share)), "wilson")


def bootstrap_mean(name: str, values: npt.NDArray[np.floating], seed: int) -> Metric:
    """The mean of per-row `values` [n] with a percentile bootstrap interval over rows."""
    rng, n = np.random.default_rng(seed), some_rows(values)
    values = values.astype(np.float64)
    block = max(1, min(RESAMPLES, _CELLS // max(n, 1)))
    means: list[Floats] = []
    for start in range(0, RESAMPLES, block):
        rows = min(block, RESAMPLES - start)
        means.append(values[rng.integers(0, n, size=(rows, n))].mean(axis=1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return Metric(name, float(values.mean()), float(low), float(high), "bootstrap")


def bootstrap(name: str, figure: Callable[[Floats], Floats], n: int, seed: int, resamples: int = RESAMPLES) -> Metric:
    """A figure of `n` rows with a percentile bootstrap interval over rows.

    `figure` takes how often each row was drawn, [resamples, n], and gives [resamples]; its value is that of every row
    drawn once. The interval is widened to hold the value where resampling alone would leave it out.
    """
    value = float(figure(np.ones((1, n)))[0])
    rng, block = np.random.default_rng(seed), max(1, min(resamples, _CELLS // n))
    found: list[Floats] = []
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(0, n, size=(rows, n)) + np.arange(rows)[:, None] * n
        found.append(figure(np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)))
    low, high = np.percentile(np.concatenate(found), [2.5, 97.5])
    return Metric(name, value, min(float(low), value), max(float(high), value), "bootstrap")


def ratio(name: str, above: npt.NDArray[Any], below: npt.NDArray[Any], seed: int) -> Metric:
    """The sum of `above` [n] over the sum of `below` [n], 0 where that is 0: error rates, shares of what rows hold."""
    n, pair = some_rows(above), np.stack([above, below], axis=1).astype(np.float64)

    def figure(weights: Floats) -> Floats:
        sums = weights @ pair
        return divided(sums[:, 0], sums[:, 1])

    return bootstrap(name, figure, n, seed)


def divided(above: Floats, below: Floats) -> Floats:
    """Element-wise quotient, 0 where `below` is 0."""
    return np.divide(above, below, out=np.zeros_like(above), where=below != 0)


def some_rows(values: npt.NDArray[Any]) -> int:
    """How many rows; raises `InvalidInput` if there are none."""
    if len(values) == 0:
        raise InvalidInput("there are no rows to measure", fix="leave some rows for validation")
    return len(values)
