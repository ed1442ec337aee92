"""Models that learn from the target data alone: what transfer has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headstock.errors import Unsupported
from headstock.report import features
from headstock.report.probe import probe

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

LINEAR = "linear model on the columns"
"""The second baseline of tables."""
CURVE = (8, 16, 32, 64)
"""Training rows per class of the learning curve."""

CURVE_ROWS = (32, 64, 128, 256, 512)
"""The same where there are no classes: rows in all."""
_MANY = 1_500
_READERS = {"text": "TF-IDF", "image": "flattened pixels", "waveform": "mean spectrum", "mfcc": "mean spectrum"}
_MODELS = {"classification": "logistic regression", "multi-label": "logistic regression", "regression": "ridge"}


def name_of(kind: str, task: str) -> str:
    """What the baseline for inputs of that kind and heads of that task is called."""
    if kind == "table":
        return "gradient-boosted trees"
    return f"{_READERS[kind]} + {_MODELS[task]}" if kind in _READERS else "classical baseline"


def classical(
    kind: str, task: str, train: Sequence[Any], targets: Array, validation: Sequence[Any], seed: int
) -> Array:
    """Answers [validation rows, ...] of the modality's baseline, trained on raw inputs; raises `Unsupported`."""
    if kind == "text":
        return _words(task, train, targets, validation)
    if kind == "table":
        inputs, unseen = features.cells(train, validation)
        return _trees(task, inputs, targets, unseen, seed)
    if kind not in _READERS:
        raise Unsupported(f"there is no baseline for inputs of kind {kind!r}")
    plain = features.pixels if kind == "image" else features.spectra
    return probe(task, plain(train), targets, plain(validation), seed)


def linear(task: str, train: Sequence[Any], targets: Array, validation: Sequence[Any], seed: int) -> Array:
    """Answers of a linear model on a table's own columns: with few rows it is often better than trees."""
    inputs, unseen = features.cells(train, validation)
    mean = np.nanmean(inputs, axis=0)
    return probe(
        task, np.where(np.isnan(inputs), mean, inputs), targets, np.where(np.isnan(unseen), mean, unseen), seed
    )


def subsample(labels: Ints, per_class: int, seed: int) -> Ints:
    """Positions of `per_class` rows of every class, fewer of those that have fewer, in ascending order."""
    order = np.random.default_rng(seed).permutation(len(labels))
    kept = [order[labels[order] == label][:per_class] for label in np.unique(labels)]
    return np.sort(np.concatenate(kept)).astype(np.int64)


def _words(task: str, train: Sequence[str], targets: Array, validation: Sequence[str]) -> Array:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import Ridge, RidgeCV

    reader = TfidfVectorizer(ngram_range=(1, 2), max_features=20_000, sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    try:
        inputs = reader.fit_transform(train)
    except ValueError as error:
        raise Unsupported("the training texts hold no words") from error
    unseen = reader.transform(validation)
    if task == "regression":
        # Leave-one-out needs a matrix of rows by rows.
        model = RidgeCV(alphas=(0.01, 0.1, 1.0, 10.0, 100.0)) if len(targets) <= _MANY else Ridge()
        return np.asarray(model.fit(inputs, targets.astype(np.float64)).predict(unseen), np.float64)
    return _by_label(_sparse_logistic, inputs, targets, unseen)


def _trees(task: str, inputs: Array, targets: Array, unseen: Array, seed: int) -> Array:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    # The usual 20 rows per leaf would leave a tree of a few dozen rows without a branch.
    leaf = max(1, min(20, len(inputs) // 20))
    common = {"max_iter": 100, "early_stopping": False, "random_state": seed, "min_samples_leaf": leaf}
    if task == "regression":
        model = HistGradientBoostingRegressor(**common).fit(inputs, targets.astype(np.float64))
        return np.asarray(model.predict(unseen), np.float64)
    return _by_label(lambda: HistGradientBoostingClassifier(**common), inputs, targets, unseen)


def _sparse_logistic() -> Any:
    """One classifier per class, as a joint fit of many classes on 20 000 words takes ten times as long."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    return OneVsRestClassifier(LogisticRegression(C=10.0, solver="liblinear", random_state=0))


def _by_label(make: Any, inputs: Any, targets: Array, unseen: Any) -> Array:
    """Classes [n] by one model, label sets [n, labels] by one for each label."""
    if targets.ndim == 2:
        columns = [_by_label(make, inputs, targets[:, i].astype(np.int64), unseen) for i in range(targets.shape[1])]
        return np.stack(columns, axis=1).astype(bool)
    if len(np.unique(targets)) == 1:
        return np.full(unseen.shape[0], targets[0], np.int64)
    return np.asarray(make().fit(inputs, targets).predict(unseen), np.int64)
