"""Did transfer help? The chosen model against the best one that saw the target data alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from headstock.errors import InvalidInput
from headstock.hookspecs import Metric

Word = Literal["positive", "none", "negative"]
Hits = npt.NDArray[np.bool_]

_Z = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Gain:
    """A difference of two figures on the same rows, with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def word(self) -> Word:
        """`positive` or `negative` where the interval leaves zero out, else `none`."""
        return "positive" if self.low > 0 else "negative" if self.high < 0 else "none"


def paired_gain(ours: Hits, theirs: Hits) -> Gain:
    """Accuracy of `ours` minus that of `theirs`, both [n] over the same rows; raises `InvalidInput` without rows.

    The interval is the adjusted Wald one for paired proportions of Bonett and Price, Journal of Educational and
    Behavioral Statistics 37 (2012): unlike a bootstrap it keeps its width when few rows differ.
    """
    if len(ours) == 0 or len(ours) != len(theirs):
        raise InvalidInput(f"there are {len(ours)} and {len(theirs)} rows to compare; expected equal numbers above 0")
    n = len(ours)
    won, lost = int((ours & ~theirs).sum()), int((~ours & theirs).sum())
    value = (won - lost) / n
    p, q = (won + 1) / (n + 2), (lost + 1) / (n + 2)
    half = _Z * float(np.sqrt((p + q - (p - q) ** 2) / (n + 2)))
    return Gain(value, max(-1.0, min(value, p - q - half)), min(1.0, max(value, p - q + half)))


def unpaired_gain(ours: Metric, theirs: Metric) -> Gain:
    """Difference of two figures of which only the intervals are known.

    The interval is that of Zou and Donner, Statistics in Medicine 27 (2008), MOVER, for figures of different rows. Of
    the same rows it is too wide rather than too narrow, as what is hard for one model is mostly hard for the other.
    """
    value = ours.value - theirs.value
    low = value - math.hypot(ours.value - ours.low, theirs.high - theirs.value)
    high = value + math.hypot(ours.high - ours.value, theirs.value - theirs.low)
    return Gain(value, low, high)
