"""How well an order agrees with the truth: weighted tau, and the regret of taking its first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def weighted_tau(scores: Sequence[float], truth: Sequence[float]) -> float:
    """Vigna's weighted Kendall tau: hyperbolic weights make mistakes near the top count more (You et al. 2021)."""
    from scipy.stats import weightedtau

    return float(weightedtau(scores, truth).statistic)


def top_regret(scores: Sequence[float], truth: Sequence[float]) -> float:
    """Best `truth` less that of the candidate with the highest score; candidates that tie count as their mean."""
    values, given = np.asarray(truth, np.float64), np.asarray(scores, np.float64)
    return float(values.max() - values[given == given.max()].mean())
