"""What a verdict compares, by task: the figure, the answer that needs no features, and paired gains with intervals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from headstock import metrics
from headstock.hookspecs import Metric
from headstock.metrics.intervals import bootstrap, divided
from headstock.report.verdict import Gain, paired_gain

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


class Scoring(ABC):
    """Answers are arrays [rows] or [rows, labels], truths of the same shape; a larger figure is better."""

    figure: ClassVar[str]
    """Name of the figure, as the head type's metrics have it."""
    guess: ClassVar[str]
    """Name of the model that looks at no input."""
    method: ClassVar[str]
    """How the interval of a gain is made."""

    @abstractmethod
    def answers(self, outputs: Array) -> Array:
        """Answers of a head's raw outputs [rows, out]."""

    @abstractmethod
    def guessed(self, train: Array, rows: int) -> Array:
        """The same answer `rows` times, the best that the training targets alone give."""

    @abstractmethod
    def score(self, answers: Array, truth: Array, seed: int) -> Metric:
        """The figure with its interval."""

    @abstractmethod
    def gain(self, ours: Array, theirs: Array, truth: Array, seed: int) -> Gain:
        """Figure of `ours` minus that of `theirs` on the same rows."""


class Classes(Scoring):
    """One class per row: accuracy with Wilson's interval, gains with Bonett and Price's."""

    figure = "accuracy"
    guess = "majority class"
    method = "Bonett-Price"

    def answers(self, outputs: Array) -> Array:
        """The class of the largest logit."""
        return np.asarray(outputs.argmax(axis=-1), np.int64)

    def guessed(self, train: Array, rows: int) -> Array:
        """The commonest class."""
        return np.full(rows, int(np.argmax(np.bincount(train))), np.int64)

    def score(self, answers: Array, truth: Array, seed: int) -> Metric:
        """Accuracy."""
        return metrics.wilson(self.figure, int((answers == truth).sum()), len(truth))

    def gain(self, ours: Array, theirs: Array, truth: Array, seed: int) -> Gain:
        """Difference of accuracies."""
        return paired_gain(ours == truth, theirs == truth)


class _Summed(Scoring):
    """Figures of sums over rows; a gain's interval is a percentile bootstrap that draws the same rows for both."""

    method = "paired bootstrap"

    @abstractmethod
    def _cells(self, answers: Array, truth: Array) -> Floats:
        """What is summed, [rows, parts]."""

    @abstractmethod
    def _of(self, sums: Floats, rows: Floats) -> Floats:
        """The figure of sums [resamples, parts] over so many rows [resamples]."""

    def score(self, answers: Array, truth: Array, seed: int) -> Metric:
        """The figure."""
        cells = self._cells(answers, truth)
        return bootstrap(self.figure, lambda w: self._of(w @ cells, w.sum(axis=1)), len(truth), seed)

    def gain(self, ours: Array, theirs: Array, truth: Array, seed: int) -> Gain:
        """Difference of figures."""
        a, b = self._cells(ours, truth), self._cells(theirs, truth)

        def difference(weights: Floats) -> Floats:
            rows = weights.sum(axis=1)
            return self._of(weights @ a, rows) - self._of(weights @ b, rows)

        found = bootstrap("gain", difference, len(truth), seed)
        return Gain(found.value, found.low, found.high)


class Numbers(_Summed):
    """One number per row: R2."""

    figure = "r2"
    guess = "mean of the training rows"

    def answers(self, outputs: Array) -> Array:
        """The number itself."""
        return outputs.reshape(len(outputs), -1)[:, 0].astype(np.float64)

    def guessed(self, train: Array, rows: int) -> Array:
        """The mean."""
        return np.full(rows, float(train.mean(dtype=np.float64)))

    def _cells(self, answers: Array, truth: Array) -> Floats:
        truth = truth.astype(np.float64)
        centred = truth - truth.mean()
        return np.stack([(answers - truth) ** 2, centred, centred**2], axis=1)

    def _of(self, sums: Floats, rows: Floats) -> Floats:
        spread = np.maximum(sums[:, 2] - sums[:, 1] ** 2 / rows, 0.0)
        return np.where(spread > 0, 1.0 - divided(sums[:, 0], spread), 0.0)


class LabelSets(_Summed):
    """Any number of labels per row: micro F1."""

    figure = "micro_f1"
    guess = "commonest labels"

    def answers(self, outputs: Array) -> Array:
        """The labels whose probability is above one half."""
        return np.asarray(outputs > 0)

    def guessed(self, train: Array, rows: int) -> Array:
        """So many of the commonest labels as give the training rows the best micro F1."""
        counts = train.sum(axis=0).astype(np.float64)
        order = np.argsort(-counts, kind="stable")
        sizes = np.arange(1, len(order) + 1)
        scores = 2 * counts[order].cumsum() / (sizes * len(train) + counts.sum())
        chosen = np.zeros(train.shape[1], bool)
        chosen[order[: int(sizes[np.argmax(scores)])]] = True
        return np.tile(chosen, (rows, 1))

    def _cells(self, answers: Array, truth: Array) -> Floats:
        truth = truth.astype(bool)
        both, either = (answers & truth).sum(axis=1), answers.sum(axis=1) + truth.sum(axis=1)
        return np.stack([2 * both, either], axis=1).astype(np.float64)

    def _of(self, sums: Floats, rows: Floats) -> Floats:
        return divided(sums[:, 0], sums[:, 1])


SCORINGS: Mapping[str, Scoring] = {"classification": Classes(), "regression": Numbers(), "multi-label": LabelSets()}
"""By the head type's task."""
