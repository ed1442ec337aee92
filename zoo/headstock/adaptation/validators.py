"""Scores that judge an adapted head without one target label."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

_TEMPERATURE = 0.05


def information(logits: Floats) -> float:
    """Information maximisation on target logits [m, classes], in nats: entropy of the mean less mean entropy.

    High where answers are certain and differ (Musgrave et al. 2022, table 1).
    """
    shares = _softmax(logits)
    return float(_entropy(shares.mean(axis=0)) - _entropy(shares).mean())


def neighbourhood_density(logits: Floats, limit: int = 1000) -> float:
    """Soft neighbourhood density of target logits [m, classes], in nats (Saito et al. 2021, eq. 1 to 3).

    Of the first `limit` rows, as it compares every row with every other.
    """
    shares = _softmax(logits[:limit])
    unit = shares / np.linalg.norm(shares, axis=1, keepdims=True)
    near = unit @ unit.T / _TEMPERATURE
    np.fill_diagonal(near, -np.inf)
    return float(_entropy(_softmax(near)).mean())


def embedded_risk(correct: npt.NDArray[np.bool_], weights: Floats) -> float:
    """Deep embedded validation (You et al. 2019, algorithm 1): the target error as the source foretells it.

    `correct` [n] of held-out source rows, `weights` [n] their density ratio target over source. May leave [0, 1].
    """
    weighted = weights * (1.0 - correct)
    spread = float(weights.var())
    control = -float(np.cov(weighted, weights, ddof=0)[0, 1]) / spread if spread > 0 else 0.0
    return float(weighted.mean() + control * weights.mean() - control)


def agreement(answers: list[Labels]) -> float:
    """Mean of Cohen's kappa (1960) over pairs of seeds: 1 alike, 0 no more alike than chance; 1 for a single seed.

    Seeds that all answer one class agree by chance only.
    """
    pairs = [_kappa(a, b) for i, a in enumerate(answers) for b in answers[:i]]
    return float(np.mean(pairs)) if pairs else 1.0


def _kappa(first: Labels, second: Labels) -> float:
    size = int(max(first.max(), second.max())) + 1
    shares = [np.bincount(one, minlength=size) / len(one) for one in (first, second)]
    chance = float(shares[0] @ shares[1])
    return (float((first == second).mean()) - chance) / (1 - chance) if chance < 1 else 0.0


def target_proportions(truth: Labels, answers: Labels, target_answers: Labels, classes: int) -> Floats:
    """Class proportions of the target, [classes], from answers alone (Lipton et al. 2018, black box shift estimation).

    `truth` and `answers` are of held-out source rows. Least squares on the confusion matrix, cut at 0 and made to sum
    to 1; exact where the classes look the same in both domains.
    """
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (answers, truth), 1.0 / len(truth))
    seen = np.bincount(target_answers, minlength=classes) / len(target_answers)
    ratio = np.maximum(np.linalg.lstsq(confusion, seen, rcond=1e-3)[0], 0.0)
    found = ratio * np.bincount(truth, minlength=classes) / len(truth)
    return np.asarray(found / max(float(found.sum()), 1e-12), np.float32)


def _softmax(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    result: npt.NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return result


def _entropy(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    result: npt.NDArray[np.float64] = -(shares * np.log(np.maximum(shares, 1e-12))).sum(axis=-1)
    return result
