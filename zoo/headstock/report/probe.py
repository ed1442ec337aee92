"""A linear probe that is worth being compared with: standardised features, tuned regularisation."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse regularisation of logistic regression that is tried, as scikit-learn counts it (`C`)."""
_PENALTIES = tuple(float(value) for value in np.geomspace(1e-2, 1e5, 15))
"""Ridge penalties that are tried."""
_FOLDS = 5
_MANY = 1_500
"""Rows from which one held-out fifth of the training rows chooses, instead of five."""
_WORK = 200_000_000
"""Rows x features x classes from which a search costs minutes; then `_USUAL` is taken."""
_USUAL = 1e-2


def probe(task: str, train: Array, targets: Array, validation: Array, seed: int) -> Array:
    """Answers [validation rows, ...] of a linear model on features [n, ...], for a task that `SCORINGS` knows.

    Logistic regression for classes, ridge for numbers, one logistic regression per label for label sets. Their
    strength is the one with the best answers on held-out *training* rows; the validation rows choose nothing.
    """
    from sklearn.preprocessing import StandardScaler

    scale = StandardScaler().fit(flat(train))
    first, second = (scale.transform(flat(part)).astype(np.float64) for part in (train, validation))
    if task == "regression":
        return _ridge(first, targets, second)
    if task == "multi-label":
        columns = [_classes(first, targets[:, i].astype(np.int64), second, seed, 1) for i in range(targets.shape[1])]
        return np.stack(columns, axis=1).astype(bool)
    return _classes(first, targets, second, seed, _FOLDS)


def flat(features: Array) -> Array:
    """[n, values]."""
    return features.reshape(len(features), -1)


def _classes(train: Array, labels: Array, validation: Array, seed: int, most: int) -> Array:
    if len(np.unique(labels)) == 1:
        return np.full(len(validation), labels[0], np.int64)
    strength = _strength(train, labels, seed, most)
    return np.asarray(_fit(strength, train, labels).predict(validation), np.int64)


def _strength(inputs: Array, labels: Array, seed: int, most: int) -> float:
    """The one whose answers on held-out rows of these are right most often; ties go to the smaller.

    Where a class has a single row nothing can be held out, and `_USUAL` is taken.
    """
    folds = _folds(labels, seed, most)
    if not folds or inputs.size * len(np.unique(labels)) > _WORK:
        return _USUAL
    hits = [
        sum(int((_fit(s, inputs[a], labels[a]).predict(inputs[b]) == labels[b]).sum()) for a, b in folds)
        for s in _STRENGTHS
    ]
    return _STRENGTHS[int(np.argmax(hits))]


def _ridge(train: Array, targets: Array, validation: Array) -> Array:
    """Chosen by leave-one-out, which ridge regression has in closed form."""
    from sklearn.linear_model import RidgeCV

    model = RidgeCV(alphas=_PENALTIES).fit(train, targets.astype(np.float64))
    return np.asarray(model.predict(validation), np.float64)


def _folds(labels: Array, seed: int, most: int) -> list[tuple[Array, Array]]:
    from sklearn.model_selection import StratifiedKFold

    least = int(np.unique(labels, return_counts=True)[1].min())
    if least < 2:
        return []
    folds = StratifiedKFold(min(_FOLDS, least), shuffle=True, random_state=seed)
    found = list(folds.split(np.zeros(len(labels)), labels))
    return found[: 1 if len(labels) > _MANY else most]


def _fit(strength: float, inputs: Array, labels: Array) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # After 200 steps the answers are those of the optimum, whatever the weights still do.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=strength, max_iter=200, tol=1e-3).fit(inputs, labels)
