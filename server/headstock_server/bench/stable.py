"""When a measurement may stop: perf_analyzer's stability rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WINDOWS = 3
SPREAD = 0.10


@dataclass(frozen=True, slots=True)
class Window:
    """What the rule looks at."""

    rate: float
    """Answers a second."""
    latency_ms: float | None
    """The percentile that must settle; None where nothing was answered."""


def is_stable(windows: Sequence[Window], *, spread: float = SPREAD) -> bool:
    """Whether the last three windows agree in rate and in latency: largest / smallest <= 1 + `spread`.

    A window without an answer agrees with none. (perf_analyzer, `--stability-percentage`.)
    """
    last = windows[-WINDOWS:]
    if len(last) < WINDOWS:
        return False
    latencies = [w.latency_ms for w in last if w.latency_ms is not None]
    return len(latencies) == WINDOWS and _agree([w.rate for w in last], spread) and _agree(latencies, spread)


def _agree(values: Sequence[float], spread: float) -> bool:
    return min(values) > 0 and max(values) <= min(values) * (1 + spread)
