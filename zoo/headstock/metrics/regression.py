"""Figures of predicted numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from headstock.hookspecs import Metric
from headstock.metrics.intervals import Floats, bootstrap, bootstrap_mean, divided, some_rows


def regression(
    predicted: npt.NDArray[np.floating], truth: npt.NDArray[np.floating], seed: int
) -> tuple[Metric, Metric, Metric]:
    """`r2`, `mae` and `rmse` of [n] against [n]; the errors are in the target's own unit, smaller is better.

    `r2` compares with always answering the mean of these rows, and is 0 where they are all equal.
    """
    n, truth = some_rows(truth), truth.astype(np.float64)
    error = predicted.astype(np.float64) - truth
    squares = error * error
    # Around a value near all of them: sums of squares of large numbers would cancel.
    centred = truth - truth.mean()
    moments = np.stack([squares, centred, centred * centred], axis=1)

    def r2(weights: Floats) -> Floats:
        count, sums = weights.sum(axis=1), weights @ moments
        spread = np.maximum(sums[:, 2] - sums[:, 1] ** 2 / count, 0.0)
        return np.where(spread > 0, 1.0 - divided(sums[:, 0], spread), 0.0)

    def rmse(weights: Floats) -> Floats:
        roots: Floats = np.sqrt(weights @ squares / weights.sum(axis=1))
        return roots

    return (
        bootstrap("r2", r2, n, seed),
        bootstrap_mean("mae", np.abs(error), seed),
        bootstrap("rmse", rmse, n, seed),
    )
