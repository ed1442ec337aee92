"""K-means on features, and what says whether its clusters are there."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from headstock.hookspecs import Metric
from headstock.metrics.intervals import bootstrap, bootstrap_mean

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_STARTS = 8
_SAMPLE = 2000
"""Rows between which distances are taken: their number grows with the square."""
_RESAMPLES = 200


def kmeans(features: Floats, k: int, seed: int) -> Ints:
    """Clusters of rows [n, width], the best of several starts; cluster 0 is the largest."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # Fewer different rows than clusters: some clusters are then empty, which the caller sees.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(k, n_init=_STARTS, random_state=seed).fit_predict(features)
    order = np.argsort(-np.bincount(found, minlength=k), kind="stable")
    place = np.empty(k, np.int64)
    place[order] = np.arange(k)
    result: Ints = place[found]
    return result


def silhouettes(features: Floats, clusters: Ints, seed: int) -> Floats:
    """Per row how much nearer its own cluster is than the next, from -1 to 1 (Rousseeuw 1987), of a sample of rows.

    Empty where the sample has one cluster only.
    """
    from sklearn.metrics import silhouette_samples

    rows = np.sort(np.random.default_rng(seed).permutation(len(features))[:_SAMPLE])
    features, clusters = features[rows], clusters[rows]
    if not 2 <= len(np.unique(clusters)) < len(rows):
        return np.zeros(0)
    found: Floats = silhouette_samples(features, clusters).astype(np.float64)
    return found


def silhouette(features: Floats, clusters: Ints, seed: int) -> Metric:
    """The mean of `silhouettes` with its interval over rows, the clusters as they are."""
    return bootstrap_mean("silhouette", silhouettes(features, clusters, seed), seed)


def by_silhouette(features: Floats, most: int, seed: int) -> list[tuple[int, float]]:
    """Every number of clusters from 2 to `most` with its mean silhouette."""
    found = []
    for k in range(2, most + 1):
        values = silhouettes(features, kmeans(features, k, seed), seed)
        found.append((k, float(values.mean()) if len(values) else -1.0))
    return found


def shuffled_silhouette(features: Floats, k: int, seed: int) -> float:
    """The same of rows whose columns were shuffled apart: what k-means finds where nothing hangs together."""
    dice = np.random.default_rng(seed)
    apart = np.stack([dice.permutation(column) for column in features.T], axis=1)
    values = silhouettes(apart, kmeans(apart, k, seed), seed)
    return float(values.mean()) if len(values) else -1.0


def stability(clusterings: Sequence[Ints]) -> float | None:
    """Mean adjusted Rand index between clusterings of the same rows; None for fewer than two."""
    from sklearn.metrics import adjusted_rand_score

    pairs = [float(adjusted_rand_score(one, other)) for one, other in combinations(clusterings, 2)]
    return float(np.mean(pairs)) if pairs else None


def agreement(clusters: Ints, classes: Ints, seed: int) -> Metric:
    """Adjusted Rand index with `classes` (Hubert and Arabie 1985): 0 by chance, 1 where they are the same."""
    width = int(classes.max()) + 1
    codes, cells = clusters * width + classes, (int(clusters.max()) + 1) * width

    def tables(weights: Floats) -> Floats:
        return np.stack([np.bincount(codes, power, cells).reshape(-1, width) for power in (weights, weights**2)])

    def figure(weights: Floats) -> Floats:
        return np.array([_ari(tables(one)) for one in weights])

    return bootstrap("ari", figure, len(clusters), seed, _RESAMPLES)


def _ari(tables: Floats) -> float:
    """Of sums of weights and of their squares in every cell, [2, clusters, classes]."""

    def pairs(cells: Floats) -> float:
        # Of different rows only: a row that was drawn twice is no evidence that the two belong together.
        return float((cells[0] ** 2 - cells[1]).sum() / 2)

    both, rows, columns = pairs(tables), pairs(tables.sum(axis=2)), pairs(tables.sum(axis=1))
    expected = rows * columns / max(pairs(tables.sum(axis=(1, 2))), 1.0)
    most = (rows + columns) / 2
    return 1.0 if most == expected else (both - expected) / (most - expected)
