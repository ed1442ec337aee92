"""Sufficient statistics of a linear head: sums over rows, to which rows can be added and from which they can be taken.

Ridge regression (one-vs-all for classes) and linear discriminant analysis both follow from `gram` and `cross` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """Sums over rows `x`, each with a 1 appended, and their targets `y`, all FP64."""

    gram: Floats
    """[width + 1, width + 1] sum of `x x^T`; the last corner is the number of rows."""
    cross: Floats
    """[width + 1, out] sum of `x y^T`; for classes `y` is one-hot, so the last row counts each class."""

    @classmethod
    def of(cls, features: npt.NDArray[np.floating], targets: Floats) -> Statistics:
        """Of features [n, width] and targets [n, out]."""
        rows = np.concatenate([np.asarray(features, np.float64), np.ones((len(features), 1))], axis=1)
        return cls(rows.T @ rows, rows.T @ targets)

    @property
    def rows(self) -> float:
        """Number of rows."""
        return float(self.gram[-1, -1])

    @property
    def counts(self) -> Floats:
        """[out] rows of each class, where targets are one-hot."""
        counts: Floats = self.cross[-1]
        return counts

    def plus(self, other: Statistics) -> Statistics:
        """Of the rows of both."""
        return Statistics(self.gram + other.gram, self.cross + other.cross)

    def minus(self, other: Statistics) -> Statistics:
        """Of the rows without those of `other`, which are among them."""
        return Statistics(self.gram - other.gram, self.cross - other.cross)

    def widened(self, classes: int) -> Statistics:
        """With `classes` in all, the new ones without rows."""
        extra = np.zeros((len(self.cross), classes - self.cross.shape[1]))
        return replace(self, cross=np.concatenate([self.cross, extra], axis=1))

    def narrowed(self, classes: Sequence[int]) -> Statistics:
        """With only these classes, in this order; the others have no rows."""
        return replace(self, cross=self.cross[:, list(classes)])
