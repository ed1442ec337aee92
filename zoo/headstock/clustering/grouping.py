"""What is asked of a clustering, and what its report says of one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headstock.clustering import quality
from headstock.clustering.quality import Floats, Ints
from headstock.data.inputs import RawInputs
from headstock.hookspecs import Metric

_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Grouping:
    """What a person may ask for."""

    k: int | None = None
    """Clusters; None takes the number with the highest silhouette."""
    most: int = 20
    """Highest number that is tried then."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Role to column, where it is not to be guessed."""
    label_column: str | None = None
    """Column to compare the clusters with; it decides nothing."""
    tap: str | None = None
    """None: the backbone's own vector per sample."""
    seed: int = 0
    seeds: int = 5
    """Clusterings, from different starts, whose agreement is measured."""


def clustering_section(
    features: Floats,
    clusters: Ints,
    k: int,
    tried: Sequence[tuple[int, float]],
    inputs: RawInputs,
    classes: tuple[Ints, list[str]] | None,
    asked: Grouping,
) -> dict[str, Any]:
    """`clustering` of the report: figures of the served clusters of all rows, and what each cluster holds."""
    silhouette = quality.silhouette(features, clusters, asked.seed)
    shuffled = quality.shuffled_silhouette(features, k, asked.seed)
    starts = [quality.kmeans(features, k, asked.seed + start) for start in range(asked.seeds)]
    found: dict[str, Any] = {
        "k": k,
        "chosen": asked.k is None,
        "tried": [{"k": number, "silhouette": value} for number, value in tried],
        "silhouette": _figure(silhouette),
        "shuffled": shuffled,
        "verdict": "more structure than shuffled columns have"
        if silhouette.low > shuffled
        else "no more structure than shuffled columns have",
        "stability": quality.stability(starts),
        "seeds": asked.seeds,
        "clusters": [_described(features, clusters, one, inputs, classes) for one in range(k)],
    }
    if classes is not None:
        agreed = quality.agreement(clusters, classes[0], asked.seed)
        found["agreement"] = {"column": asked.label_column, **_figure(agreed)}
    return found


def _described(
    features: Floats, clusters: Ints, one: int, inputs: RawInputs, classes: tuple[Ints, list[str]] | None
) -> dict[str, Any]:
    rows = np.flatnonzero(clusters == one)
    found: dict[str, Any] = {"name": f"cluster-{one + 1}", "rows": len(rows), "examples": []}
    if len(rows):
        apart = np.linalg.norm(features[rows] - features[rows].mean(axis=0), axis=1)
        found["examples"] = [inputs.name(int(row)) for row in rows[np.argsort(apart, kind="stable")][:_EXAMPLES]]
    if classes is not None and len(rows):
        commonest, count = Counter(classes[0][rows].tolist()).most_common(1)[0]
        found |= {"label": classes[1][commonest], "share": count / len(rows)}
    return found


def _figure(metric: Metric) -> dict[str, float]:
    return {"value": metric.value, "low": metric.low, "high": metric.high}
