"""Figures of scores that rank rows: area under the ROC curve and under the precision-recall curve."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from headstock.hookspecs import Metric
from headstock.metrics.intervals import Bools, Floats, bootstrap, divided, some_rows


class Ranking:
    """Rows in descending order of score, sorted once for all resamples; ties share one threshold."""

    def __init__(self, scores: npt.NDArray[np.floating], positive: Bools) -> None:
        """`scores` [n], larger for more positive; NaN ranks last."""
        scores = np.where(np.isnan(scores), -np.inf, scores)
        self._order = np.argsort(-scores, kind="stable")
        descending = scores[self._order]
        self._starts = np.flatnonzero(np.concatenate([[True], descending[1:] != descending[:-1]]))
        self._positive = positive[self._order].astype(np.float64)

    def auroc(self, weights: Floats) -> Floats:
        """For each resample [resamples, n]; 0.5 where a resample holds one class only."""
        hits, misses = self._steps(weights)
        # Each negative is beaten by the positives above it, and by half of those it is tied with.
        above = np.cumsum(hits, axis=1) - hits / 2
        area, pairs = (misses * above).sum(axis=1), hits.sum(axis=1) * misses.sum(axis=1)
        return np.where(pairs > 0, divided(area, pairs), 0.5)

    def auprc(self, weights: Floats) -> Floats:
        """Average precision, the area without interpolation; 0 where a resample holds no positive."""
        hits, misses = self._steps(weights)
        found = np.cumsum(hits, axis=1)
        precision = divided(found, found + np.cumsum(misses, axis=1))
        return divided((precision * hits).sum(axis=1), hits.sum(axis=1))

    def _steps(self, weights: Floats) -> tuple[Floats, Floats]:
        """Positives and negatives at each distinct score, [resamples, thresholds]."""
        ordered = weights[:, self._order]
        hits = np.add.reduceat(ordered * self._positive, self._starts, axis=1)
        return hits, np.add.reduceat(ordered, self._starts, axis=1) - hits


def auroc(scores: npt.NDArray[np.floating], positive: Bools, seed: int) -> Metric:
    """The chance that a positive row scores above a negative one; without both classes nothing is known."""
    n = some_rows(scores)
    if positive.all() or not positive.any():
        return Metric("auroc", 0.5, 0.0, 1.0, "bootstrap")
    return bootstrap("auroc", Ranking(scores, positive).auroc, n, seed)


def auprc(scores: npt.NDArray[np.floating], positive: Bools, seed: int) -> Metric:
    """Average precision; chance is the share of positive rows, and without any nothing is known."""
    n = some_rows(scores)
    if not positive.any():
        return Metric("auprc", 0.0, 0.0, 1.0, "bootstrap")
    return bootstrap("auprc", Ranking(scores, positive).auprc, n, seed)
