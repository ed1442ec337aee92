"""Transferability scores of frozen features: nearest neighbour, LogME, linear probe, H-score; larger is better."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]

_FOLDS = 5
_STEPS = 100
_SETTLED = 1e-6


def knn_hits(features: Features, classes: Ints, neighbours: int = 1) -> Floats:
    """1 for each row [n] whose `neighbours` nearest other rows (cosine) vote for its class, else 0: leave-one-out.

    A tied vote goes to the class whose neighbours are nearer in all. Renggli et al. 2022 (Which Model to Transfer?)
    find nearest-neighbour accuracy the best cheap task-aware score.
    """
    rows = np.asarray(features, np.float64)
    rows = rows - rows.mean(axis=0)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    likeness = rows @ rows.T
    np.fill_diagonal(likeness, -np.inf)
    nearest = np.argsort(-likeness, axis=1, kind="stable")[:, : min(neighbours, len(rows) - 1)]
    votes = np.zeros((len(rows), int(classes.max()) + 1))
    closeness = np.take_along_axis(likeness, nearest, axis=1)
    for place in range(nearest.shape[1]):
        # A vote weighs 1; closeness is at most 1, so what it adds only ever breaks ties.
        weight = 1.0 + 1e-3 * closeness[:, place]
        np.add.at(votes, (np.arange(len(rows)), classes[nearest[:, place]]), weight)
    hits: Floats = (votes.argmax(axis=1) == classes).astype(np.float64)
    return hits


def knn_errors(features: Features, targets: Floats, neighbours: int = 5) -> Floats:
    """Squared errors [n] of the mean target of the nearest other rows (cosine), in the target's unit squared."""
    rows = np.asarray(features, np.float64)
    rows = rows - rows.mean(axis=0)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    likeness = rows @ rows.T
    np.fill_diagonal(likeness, -np.inf)
    nearest = np.argsort(-likeness, axis=1, kind="stable")[:, : min(neighbours, len(rows) - 1)]
    errors: Floats = (targets[nearest].mean(axis=1) - targets) ** 2
    return errors


def one_hot(classes: Ints) -> Floats:
    """Membership [n, classes]."""
    return np.eye(int(classes.max()) + 1)[classes]


def logme(features: Features, targets: Floats) -> float:
    """Log maximum evidence per row, averaged over the columns of `targets` [n, k] (You et al. 2021, ICML, algorithm 1).

    The evidence of Bayesian linear regression on `features` [n, width], maximised over both precisions by fixed-point
    iteration on one singular value decomposition. Classes come as one column of 0 and 1 each.
    """
    rows = np.asarray(features, np.float64)
    count, width = rows.shape
    left, values, _ = np.linalg.svd(rows, full_matrices=False)
    spectrum = values**2
    found = [_evidence(spectrum, (left.T @ y) ** 2, float(y @ y), count, width) for y in targets.T]
    return float(np.mean(found))


def _evidence(spectrum: Floats, projected: Floats, total: float, count: int, width: int) -> float:
    """Evidence of one target per row; `projected` are squared coordinates of it on the left singular vectors."""
    prior, noise = 1.0, 1.0
    outside = max(total - float(projected.sum()), 0.0)
    for _ in range(_STEPS):
        ratio = prior / noise
        gamma = float((spectrum / (spectrum + ratio)).sum())
        size = float((spectrum * projected / (spectrum + ratio) ** 2).sum())
        residual = float((projected / (1 + spectrum / ratio) ** 2).sum()) + outside
        prior, noise = gamma / (size + 1e-10), (count - gamma) / (residual + 1e-10)
        if abs(prior / noise - ratio) <= _SETTLED * ratio:
            break
    ratio = prior / noise
    size = float((spectrum * projected / (spectrum + ratio) ** 2).sum())
    residual = float((projected / (1 + spectrum / ratio) ** 2).sum()) + outside
    logs = float(np.log(prior + noise * spectrum).sum()) + (width - len(spectrum)) * np.log(prior)
    evidence = (
        width / 2 * np.log(prior)
        + count / 2 * np.log(noise)
        - logs / 2
        - noise / 2 * residual
        - prior / 2 * size
        - count / 2 * np.log(2 * np.pi)
    )
    return float(evidence / count)


def h_score(features: Features, classes: Ints) -> float:
    """Trace of the feature covariance's inverse times that of the class means (Bao et al. 2019)."""
    rows = np.asarray(features, np.float64)
    rows = rows - rows.mean(axis=0)
    means = np.zeros_like(rows)
    for one in np.unique(classes):
        means[classes == one] = rows[classes == one].mean(axis=0)
    inverse = np.linalg.pinv(np.cov(rows, rowvar=False).reshape(rows.shape[1], -1), rcond=1e-15)
    return float(np.trace(inverse @ np.cov(means, rowvar=False).reshape(rows.shape[1], -1)))


def probe_hits(features: Features, classes: Ints, seed: int) -> Floats:
    """1 for each row [n] that a logistic regression trained on the other folds gets right, else 0.

    Every class has at least two rows; folds are stratified.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = StratifiedKFold(max(2, min(_FOLDS, int(np.bincount(classes).min()))), shuffle=True, random_state=seed)
    # Scaled by the width, so that a wide backbone is not regularised less than a narrow one.
    strength = 10.0 / features.shape[1]
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
    predicted = cross_val_predict(probe, np.asarray(features, np.float64), classes, cv=folds)
    hits: Floats = (predicted == classes).astype(np.float64)
    return hits


def ridge_errors(features: Features, targets: Floats, seed: int) -> Floats:
    """Squared errors [n] of a ridge regression trained on the other folds, its penalty chosen within them."""
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = KFold(min(_FOLDS, len(targets) // 2), shuffle=True, random_state=seed)
    probe = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
    predicted = cross_val_predict(probe, np.asarray(features, np.float64), targets, cv=folds)
    errors: Floats = (predicted - targets) ** 2
    return errors
