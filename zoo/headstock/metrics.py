"""Figures with 95 % confidence intervals: what head types report and verdicts compare; numpy only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from headstock.errors import InvalidInput
from headstock.hookspecs import Metric

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

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
    rng, n = np.random.default_rng(seed), _some_rows(values)
    values = values.astype(np.float64)
    block = max(1, min(RESAMPLES, _CELLS // max(n, 1)))
    means: list[Floats] = []
    for start in range(0, RESAMPLES, block):
        rows = min(block, RESAMPLES - start)
        means.append(values[rng.integers(0, n, size=(rows, n))].mean(axis=1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return Metric(name, float(values.mean()), float(low), float(high), "bootstrap")


def accuracy(predicted: Ints, truth: Ints) -> Metric:
    """Share of rows that are right."""
    return wilson("accuracy", int((predicted == truth).sum()), len(truth))


def macro_f1(predicted: Ints, truth: Ints, classes: int, seed: int) -> Metric:
    """Mean F1 over the classes that occur in truth or prediction, with a bootstrap interval over rows."""
    return _of_confusion("macro_f1", predicted, truth, classes, seed, _mean_f1)


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
    rng, n = np.random.default_rng(seed), _some_rows(truth)
    true_class, predicted_class = cells // classes, cells % classes
    draws = np.concatenate([counts[None, :], rng.multinomial(n, counts / n, size=RESAMPLES)]).astype(np.float64)
    figures = figure(draws, true_class, predicted_class, classes)
    low, high = np.percentile(figures[1:], [2.5, 97.5])
    return Metric(name, float(figures[0]), float(low), float(high), "bootstrap")


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
    f1 = np.divide(2 * hits, total, out=np.zeros_like(hits), where=total > 0)
    scores: Floats = f1.sum(axis=1) / np.maximum((total > 0).sum(axis=1), 1)
    return scores


def _some_rows(values: npt.NDArray[Any]) -> int:
    if len(values) == 0:
        raise InvalidInput("there are no rows to measure", fix="leave some rows for validation")
    return len(values)


def log_loss(logits: npt.NDArray[np.floating], truth: Ints, seed: int) -> Metric:
    """Mean negative log-likelihood in nats, with a bootstrap interval over rows; smaller is better."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(truth)), truth]
    return bootstrap_mean("log_loss", losses, seed)


def retrieval(vectors: npt.NDArray[np.floating], labels: Ints, seed: int) -> tuple[Metric, Metric]:
    """`recall_at_1` and `mrr`, leave-one-out: each row looks for another of its label by cosine.

    Rows whose label is theirs alone have nothing to find and are left out.
    """
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    ranks: list[int] = []
    for start in range(0, len(unit), 512):
        scores = unit[start : start + 512] @ unit.T
        for row, score in enumerate(scores, start):
            same = labels == labels[row]
            others = ~same
            same[row] = False
            if same.any():
                # Ties and NaN count against us: vectors that are all equal, or no vectors at all, find nothing.
                ranks.append(1 + int((~(score[others] < score[same].max())).sum()))
    if not ranks:
        return Metric("recall_at_1", 0.0, 0.0, 1.0, "wilson"), Metric("mrr", 0.0, 0.0, 1.0, "bootstrap")
    found = np.array(ranks)
    return wilson("recall_at_1", int((found == 1).sum()), len(found)), bootstrap_mean("mrr", 1.0 / found, seed)
