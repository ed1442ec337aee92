"""What was seen of each request, and the figures that follow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

OK = "OK"
NOT_SENT = "NOT_SENT"
"""In place of a gRPC code: the request was due, but the load tool was too slow to send it."""
PERCENTILES = (50.0, 90.0, 99.0)


@dataclass(frozen=True, slots=True)
class Sample:
    """One request; times are seconds of one monotonic clock."""

    model: str
    due: float
    """When the schedule wanted it sent; in a closed loop, when it was sent."""
    sent: float
    ended: float
    code: str
    """The gRPC code of the answer, or `NOT_SENT`."""

    @property
    def latency_ms(self) -> float:
        """From when it was due, so that a request that had to wait for its turn is charged for the wait."""
        return (self.ended - self.due) * 1000


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one window."""

    seconds: float
    rate: float
    """Answers without an error, a second."""
    counted: int
    """Requests the latencies and errors are of."""
    errors: Mapping[str, int]
    """Failed requests by gRPC code, or `NOT_SENT`."""
    latency_ms: Mapping[str, float | None]
    """`p50`, `p90`, ... of answers without an error, and their `mean`; None where there was no answer."""
    late_ms: float | None
    """The 99th percentile of how late the load tool sent what was due: large means that it was the limit."""


def figures(samples: Sequence[Sample], start: float, end: float, percentile: float, *, by_due: bool) -> Figures:
    """The figures of the window from `start` to `end`.

    `rate` counts answers that came in the window. Latencies and errors are of the requests that ended in it, or with
    `by_due` of those that were due in it, however late their answers came: leaving the slowest out would flatter.
    """
    counted = [s for s in samples if start <= (s.due if by_due else s.ended) < end]
    good = [s.latency_ms for s in counted if s.code == OK]
    answers = sum(s.code == OK and start <= s.ended < end for s in samples)
    latency: dict[str, float | None] = {label(q): _percentile(good, q) for q in sorted({*PERCENTILES, percentile})} | {
        "mean": float(np.mean(good)) if good else None
    }
    return Figures(
        seconds=end - start,
        rate=answers / (end - start),
        counted=len(counted),
        errors=dict(Counter(s.code for s in counted if s.code != OK)),
        latency_ms=latency,
        late_ms=_percentile([(s.sent - s.due) * 1000 for s in counted], 99),
    )


def label(percentile: float) -> str:
    """`p99`, `p99.9`."""
    return f"p{percentile:g}"


def _percentile(values: Sequence[float], q: float) -> float | None:
    return float(np.percentile(values, q)) if values else None
