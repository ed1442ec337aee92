"""Models that the report compares with: what the target data alone can do, and a linear probe of the backbone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headstock.errors import Unsupported
from headstock.report import features

Ints = npt.NDArray[np.int64]

NAMES = {
    "text": "TF-IDF + logistic regression",
    "image": "flattened pixels + logistic regression",
    "waveform": "mean spectrum + logistic regression",
    "mfcc": "mean spectrum + logistic regression",
    "table": "gradient-boosted trees",
}
"""The classical baseline of each kind of preprocessing."""

CURVE = (8, 16, 32, 64)
"""Training rows per class of the learning curve."""


def classical(kind: str, train: Sequence[Any], labels: Ints, validation: Sequence[Any], seed: int) -> Ints:
    """Answers [validation rows] of the modality's baseline, trained on raw inputs; raises `Unsupported`."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer

    if kind == "text":
        reader = TfidfVectorizer(
            ngram_range=(1, 2), max_features=20_000, sublinear_tf=True, token_pattern=r"(?u)\b\w+\b"
        )
        try:
            inputs = reader.fit_transform(train)
        except ValueError as error:
            raise Unsupported("the training texts hold no words") from error
        return _fitted(_sparse_logistic(), inputs, labels, reader.transform(validation))
    if kind == "table":
        inputs, unseen = features.cells(train, validation)
        trees = HistGradientBoostingClassifier(max_iter=100, early_stopping=False, random_state=seed)
        return _fitted(trees, inputs, labels, unseen)
    if kind not in NAMES:
        raise Unsupported(f"there is no baseline for inputs of kind {kind!r}")
    plain = features.pixels if kind == "image" else features.spectra
    return probe(plain(train), labels, plain(validation))


def probe(train: npt.NDArray[Any], labels: Ints, validation: npt.NDArray[Any]) -> Ints:
    """Answers [validation rows] of logistic regression on standardised features, [n, ...] each."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), _logistic(1.0))
    return _fitted(model, train.reshape(len(train), -1), labels, validation.reshape(len(validation), -1))


def subsample(labels: Ints, per_class: int, seed: int) -> Ints:
    """Positions of `per_class` rows of every class, fewer of those that have fewer, in ascending order."""
    order = np.random.default_rng(seed).permutation(len(labels))
    kept = [order[labels[order] == label][:per_class] for label in np.unique(labels)]
    return np.sort(np.concatenate(kept)).astype(np.int64)


def _logistic(strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=100, tol=1e-3)


def _sparse_logistic() -> Any:
    """One classifier per class, as a joint fit of many classes on 20 000 words takes ten times as long."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    return OneVsRestClassifier(LogisticRegression(C=10.0, solver="liblinear", random_state=0))


def _fitted(model: Any, train: Any, labels: Ints, validation: Any) -> Ints:
    from sklearn.exceptions import ConvergenceWarning

    if len(np.unique(labels)) == 1:
        return np.full(validation.shape[0], labels[0], np.int64)
    with warnings.catch_warnings():
        # A baseline after 100 steps is as good as one at the optimum.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train, labels)
    return np.asarray(model.predict(validation), np.int64)
