"""Callers who have just been answered and may ask again at once: rows that are worth a moment's wait.

A closed loop of eight callers sends eight requests one shortly after the other. A runner that leaves with the first
makes a pass of one and a pass of seven out of them, for ever: the one comes back while the seven run. So after a pass
the runner lets a pass with room wait for as many requests as were answered, as long as callers have been coming back
and the wait is short beside what the last pass took.
"""

from __future__ import annotations

_SHARE = 4
"""A wait for the next request is at most this part of the time that the last pass took..."""
_CAP_NS = 4_000_000
"""...and never longer than this."""
_GAPS = 4
"""A wait is at most so many times the usual one: until the first request comes back, or between two of them..."""
_CAPS = 2
"""...and all the waits after one pass together at most so many times the longest single one."""
_RETURNING = 0.9
"""Share of the answered callers that must have been coming back for anybody to wait for them."""
_WEIGHT = 0.2
"""Of the newest figure in a moving average."""


class Company:
    """Who is expected at one device. The scheduler's lock guards it; times are monotonic nanoseconds."""

    __slots__ = ("_answered_at", "_came", "_cap", "_first", "_gap", "_hoped", "_latest", "_returning")

    def __init__(self) -> None:
        """Nobody is expected."""
        self._hoped = self._came = self._cap = self._answered_at = self._latest = 0
        self._first = self._gap = 0.0
        self._returning = 1.0

    def answered(self, requests: int, ran_ns: int, now: int) -> None:
        """A pass that took `ran_ns` answered that many requests."""
        if self._hoped:
            self._returning += _WEIGHT * (self._came / self._hoped - self._returning)
        self._hoped, self._came = requests, 0
        self._cap = min(ran_ns // _SHARE, _CAP_NS)
        self._answered_at = self._latest = now

    def asked(self, now: int) -> None:
        """A request was queued; one that came before the answers, and waited for the lock, is nobody's next."""
        if self.complete or not self._answered_at <= now <= self._answered_at + _CAPS * self._cap:
            return
        gap = now - self._latest
        if self._came:
            self._gap = _averaged(self._gap, gap)
        else:
            self._first = _averaged(self._first, gap)
        self._came += 1
        self._latest = now

    @property
    def complete(self) -> bool:
        """True if nobody is missing."""
        return self._came >= self._hoped

    def until(self, now: int) -> int:
        """How long a pass with room may wait; 0 if it is not worth it."""
        if self.complete or self._returning < _RETURNING:
            return 0
        usual = self._gap if self._came else self._first
        wait = min(self._cap, int(_GAPS * usual) or self._cap)
        until = min(self._latest + wait, self._answered_at + _CAPS * self._cap)
        return until if now < until else 0

    def __repr__(self) -> str:
        return f"Company(came={self._came}/{self._hoped}, gap={self._gap / 1e6:.3f} ms, back={self._returning:.2f})"


def _averaged(average: float, value: int) -> float:
    return average + _WEIGHT * (value - average) if average else float(value)
