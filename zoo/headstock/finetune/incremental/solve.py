"""From sufficient statistics to the weights of a head."""

from __future__ import annotations

from typing import Literal

import numpy as np

from headstock.finetune.incremental.statistics import Floats, Statistics
from headstock.hookspecs import LinearForm

Solver = Literal["ridge", "lda"]

_LEAST = 1e-30


def solve(statistics: Statistics, solver: Solver, penalty: float) -> LinearForm:
    """The head in closed form; a function of the statistics alone, so equal sums give equal heads.

    `ridge` is least squares on the targets with an unpenalised bias. `lda` is linear discriminant analysis (Hastie et
    al. 2009, section 4.3), whose outputs are log posteriors up to a constant. `penalty` is a share of the mean
    variance of the features, so that their scale does not matter.
    """
    rows = statistics.rows
    mean = statistics.gram[-1, :-1] / rows
    scatter = statistics.gram[:-1, :-1] / rows - np.outer(mean, mean)
    variance = float(np.trace(scatter)) / len(mean)
    ridge = penalty * max(variance, _LEAST) * np.eye(len(mean))
    if solver == "ridge":
        weight, bias = _ridge(statistics, mean, scatter + ridge)
    else:
        weight, bias = _lda(statistics, mean, scatter, ridge)
    return LinearForm(np.ascontiguousarray(weight, np.float32), np.ascontiguousarray(bias, np.float32))


def _ridge(statistics: Statistics, mean: Floats, penalised: Floats) -> tuple[Floats, Floats]:
    rows = statistics.rows
    average = statistics.cross[-1] / rows
    covariance = statistics.cross[:-1] / rows - np.outer(mean, average)
    weight: Floats = np.asarray(np.linalg.solve(penalised, covariance), np.float64)
    return weight, average - mean @ weight


def _lda(statistics: Statistics, mean: Floats, scatter: Floats, ridge: Floats) -> tuple[Floats, Floats]:
    counts = statistics.counts
    means = statistics.cross[:-1] / counts
    apart = means - mean[:, None]
    within = scatter - (apart * (counts / statistics.rows)) @ apart.T
    # Measured from the mean of all rows: large common offsets would cancel badly in the bias.
    weight: Floats = np.asarray(np.linalg.solve(within + ridge, apart), np.float64)
    bias = np.log(counts / statistics.rows) - 0.5 * (apart * weight).sum(axis=0) - mean @ weight
    return weight, bias
