"""Figures of classifiers: one label per row, or any number of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from headstock.hookspecs import Metric
from headstock.metrics.intervals import (
    RESAMPLES,
    Bools,
    Floats,
    Ints,
    bootstrap,
    bootstrap_mean,
    divided,
    some_rows,
    wilson,
)
from headstock.metrics.ranking import Ranking

_FEW = 200
"""Resamples of figures that cost a pass over all scores for each label."""


def accuracy(predicted: Ints, truth: Ints) -> Metric:
    """Share of rows that are right."""
    return wilson("accuracy", int((predicted == truth).sum()), len(truth))


def macro_f1(predicted: Ints, truth: Ints, classes: int, seed: int) -> Metric:
    """Mean F1 over the classes that occur in truth or prediction, with a bootstrap interval over rows."""
    return _of_confusion("macro_f1", predicted, truth, classes, seed, _mean_f1)


def log_loss(logits: npt.NDArray[np.floating], truth: Ints, seed: int) -> Metric:
    """Mean negative log-likelihood in nats, with a bootstrap interval over rows; smaller is better."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(truth)), truth]
    return bootstrap_mean("log_loss", losses, seed)


def multi_label(
    scores: npt.NDArray[np.floating], truth: Bools, threshold: float, seed: int
) -> tuple[Metric, Metric, Metric]:
    """`micro_f1` and `macro_f1` of scores [n, labels] above `threshold`, and `map`: the mean over labels of AUPRC.

    Labels that are neither in `truth` nor predicted count in neither mean.
    """
    n, labels = some_rows(truth), truth.shape[1]
    predicted = scores > threshold
    cells = np.concatenate([truth & predicted, truth, predicted], axis=1).astype(np.float64)

    def micro(weights: Floats) -> Floats:
        hits, truths, guesses = np.split(weights @ cells, [labels, 2 * labels], axis=1)
        return divided(2 * hits.sum(axis=1), (truths + guesses).sum(axis=1))

    def macro(weights: Floats) -> Floats:
        hits, truths, guesses = np.split(weights @ cells, [labels, 2 * labels], axis=1)
        total = truths + guesses
        scores: Floats = divided(2 * hits, total).sum(axis=1) / np.maximum((total > 0).sum(axis=1), 1)
        return scores

    rankings = [Ranking(scores[:, i], truth[:, i]) for i in range(labels) if truth[:, i].any()]

    def mean_precision(weights: Floats) -> Floats:
        found = np.stack([ranking.auprc(weights) for ranking in rankings]) if rankings else np.zeros((1, len(weights)))
        means: Floats = found.mean(axis=0)
        return means

    return (
        bootstrap("micro_f1", micro, n, seed),
        bootstrap("macro_f1", macro, n, seed),
        bootstrap("map", mean_precision, n, seed, _FEW),
    )


def _of_confusion(
    name: str,
    predicted: Ints,
    truth: Ints,
    classes: int,
    seed: int,
    figure: Callable[[Floats, Ints, Ints, int], Floats],
) -> Metric:
    # Resampling rows is drawing the confusion cells from a multinomial: cheap however many rows there are.
    cells, counts = np.unique(truth * classes + predicted, return_counts=True)
    rng, n = np.random.default_rng(seed), some_rows(truth)
    true_class, predicted_class = cells // classes, cells % classes
    draws = np.concatenate([counts[None, :], rng.multinomial(n, counts / n, size=RESAMPLES)]).astype(np.float64)
    figures = figure(draws, true_class, predicted_class, classes)
    low, high = np.percentile(figures[1:], [2.5, 97.5])
    value = float(figures[0])
    return Metric(name, value, min(float(low), value), max(float(high), value), "bootstrap")


def _mean_f1(draws: Floats, true_class: Ints, predicted_class: Ints, classes: int) -> Floats:
    """Macro F1 of every row of `draws` [resamples, cells]."""
    truths = np.zeros((len(draws), classes))
    guesses, hits = np.zeros_like(truths), np.zeros_like(truths)
    for cell, (t, p) in enumerate(zip(true_class, predicted_class, strict=True)):
        truths[:, t] += draws[:, cell]
        guesses[:, p] += draws[:, cell]
        if t == p:
            hits[:, t] += draws[:, cell]
    total = truths + guesses
    scores: Floats = divided(2 * hits, total).sum(axis=1) / np.maximum((total > 0).sum(axis=1), 1)
    return scores
