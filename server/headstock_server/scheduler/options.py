"""The scheduler's settings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SchedulerOptions:
    """Limits and patience of the queues."""

    runners: int = 1
    """Threads per device that run passes. One is right for a GPU and for a single core."""
    queue_rows: int = 4096
    """Rows that may wait in all; more are refused with `Exhausted`."""
    queue_tokens: int = 262_144
    """Tokens that may wait in all; a single request that is larger is still taken when nothing waits."""
    queue_seconds: float = 5.0
    """Seconds of work that may wait in all, by what passes take now: it bounds the wait of callers without a deadline,
    and how soon the server is itself again after a rush. A request that finds nothing waiting is always taken."""
    max_delay: float = 0.0
    """Seconds that a pass with room left may wait for company. 0 never waits."""
    patience: float = 1.0
    """Seconds after which a row without a deadline goes before every row that arrived later."""
