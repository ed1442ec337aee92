"""Calibration: is a probability of 0.9 right nine times in ten?"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BINS = 15
_TEMPERATURES = np.geomspace(0.05, 20.0, 121)


def softmax(logits: npt.NDArray[Any]) -> Floats:
    """Probabilities of logits [n, classes]."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float64)


def expected_calibration_error(probabilities: Floats, truth: Ints, bins: int = BINS) -> float:
    """Mean distance of confidence and accuracy over bins of equal width, weighted by rows.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    # Bins are open on the left, as the paper has them.
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    distance = np.bincount(place, confidence, bins) - np.bincount(place, right, bins)
    return float(np.abs(distance).sum() / len(truth))


def fit_temperature(logits: npt.NDArray[Any], truth: Ints) -> float:
    """The temperature of least negative log-likelihood, on a grid of 121 steps from 0.05 to 20 (Guo et al., 4.2)."""
    losses = [_loss(logits / temperature, truth) for temperature in _TEMPERATURES]
    return float(_TEMPERATURES[int(np.argmin(losses))])


def calibration(logits: npt.NDArray[Any], truth: Ints, seed: int) -> dict[str, Any] | None:
    """ECE before and after temperature scaling, [n, classes] and [n]; None with fewer than 4 rows.

    Each half of the rows is scaled with the temperature of the other half, so that no row is judged by a temperature
    that it helped to choose. Intervals are percentile bootstraps over rows; ECE is biased upwards when rows are few.
    """
    n = len(truth)
    if n < 4:
        return None
    rng = np.random.default_rng(seed)
    first = np.zeros(n, bool)
    first[rng.permutation(n)[: n // 2]] = True
    scaled = logits.astype(np.float64)
    for half in (first, ~first):
        scaled[half] /= fit_temperature(logits[~half], truth[~half])
    draws = rng.integers(0, n, size=(200, n))
    return {
        "bins": BINS,
        "temperature": fit_temperature(logits, truth),
        "before": _interval(softmax(logits), truth, draws),
        "after": _interval(softmax(scaled), truth, draws),
    }


def _interval(probabilities: Floats, truth: Ints, draws: npt.NDArray[np.int64]) -> dict[str, float]:
    value = expected_calibration_error(probabilities, truth)
    drawn = [expected_calibration_error(probabilities[rows], truth[rows]) for rows in draws]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"value": value, "low": min(float(low), value), "high": max(float(high), value)}


def _loss(logits: npt.NDArray[Any], truth: Ints) -> float:
    chosen = softmax(logits)[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(chosen, 1e-300)).mean())
