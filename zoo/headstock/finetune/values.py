"""Features and raw outputs of rows: one array where all rows have one shape, a list where they differ in length."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Values: TypeAlias = Floats | list[Floats]
"""[n, ..., width] FP32, or a list of n arrays [positions, width]."""


def pick(values: Values, rows: Sequence[int]) -> Values:
    """These rows, in this order."""
    return [values[row] for row in rows] if isinstance(values, list) else values[list(rows)]


def joined(parts: Iterable[Values], shape: Sequence[int], ragged: bool) -> Values:
    """All rows, one part after the other; `shape` of a row gives an empty result its shape."""
    if ragged:
        return [row for part in parts for row in part]
    return np.concatenate([np.empty((0, *shape), np.float32), *parts])


def width_of(values: Values) -> int:
    """Size of the last axis."""
    return int(values[0].shape[-1])


def flat(values: Values) -> Floats:
    """Positions of all rows as one array [all positions, width]; an array stays what it is."""
    return np.concatenate(values) if isinstance(values, list) else values
