"""The learning curve: what a linear probe makes of fewer rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from headstock.hookspecs import Metric
from headstock.report import baselines

Ints = npt.NDArray[np.int64]


def learning_curve(
    score: Callable[[Ints], Metric], targets: npt.NDArray[Any], rows: Ints, seed: int, *, classes: bool
) -> list[dict[str, Any]] | None:
    """`score` of a probe that learns from some of `rows`, at so many rows per class, or in all without classes.

    None where scikit-learn is not installed.
    """
    most = int(np.bincount(targets).max()) if classes else len(rows)
    points = []
    for size in baselines.CURVE if classes else baselines.CURVE_ROWS:
        if size > most:
            break
        drawn = baselines.subsample(targets, size, seed) if classes else _drawn(rows, size, seed)
        try:
            found = score(drawn)
        except ModuleNotFoundError:
            return None
        points.append({"per_class": size if classes else None, "rows": len(drawn), **asdict(found)})
    return points


def _drawn(rows: Ints, size: int, seed: int) -> Ints:
    return np.sort(np.random.default_rng(seed).permutation(rows)[:size])
