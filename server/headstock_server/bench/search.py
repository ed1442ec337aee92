"""The highest rate that a server sustains under a bound: a binary search over trials."""

from __future__ import annotations

import math
from collections.abc import Callable

TOLERANCE = 0.05
TRIALS = 24


def highest_rate(
    sustains: Callable[[float], bool], start: float, *, tolerance: float = TOLERANCE, trials: int = TRIALS
) -> float | None:
    """The highest rate, requests a second, for which `sustains` was true, to within a share of `tolerance`.

    Doubles or halves from `start` until one rate is sustained and one is not, then halves the distance between them in
    proportion. None if no rate was sustained in `trials` trials. As MLPerf's server scenario is found: every trial is
    a whole run, and the figure reported is of a rate that was run.
    """
    low: float | None = None
    high: float | None = None
    rate = start
    for _ in range(trials):
        if sustains(rate):
            low = rate
        else:
            high = rate
        if low is None:
            rate /= 2
        elif high is None:
            rate *= 2
        elif high <= low * (1 + tolerance):
            break
        else:
            rate = math.sqrt(low * high)
    return low
