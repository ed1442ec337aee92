"""Figures of embeddings: does a row find another of its label?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from headstock.hookspecs import Metric
from headstock.metrics.intervals import Ints, bootstrap_mean, wilson


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
