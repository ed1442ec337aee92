"""How long a pass takes: a line through the passes that a lane has run, begun with the profiled rate."""

from __future__ import annotations

from typing import NamedTuple

_DECAY = 0.97
_ANCHOR = 0.25
"""Weight of a point at zero: a lane whose passes are all of one size is taken to be proportional."""
_STARTING_PASSES = 4.0
"""How many passes the profiled rate counts for."""
_CLIP = 2.0
"""A pass that took longer than this times the estimate counts as that much: one stall must not turn callers away."""


class Pace(NamedTuple):
    """Time of a pass as a function of its padded tokens."""

    fixed_ns: float
    token_ns: float
    spread_ns: float = 0.0
    """How far passes lie from the line, on average."""

    def time(self, padded: int) -> float:
        """Nanoseconds that a pass of that many padded tokens is expected to take."""
        return self.fixed_ns + self.token_ns * padded


class PaceMeter:
    """Keeps a lane's `pace`. One thread observes at a time; any thread may read."""

    __slots__ = ("_n", "_x", "_xx", "_xy", "_y", "pace")

    def __init__(self, token_ns: float, tokens: int) -> None:
        """Begin with `token_ns` per token, which was measured at passes of `tokens`."""
        self._n = self._x = self._y = self._xx = self._xy = 0.0
        self.pace = Pace(0.0, max(token_ns, 1e-3))
        self._add(_STARTING_PASSES, tokens, self.pace.time(tokens))

    def observe(self, padded: int, ns: int) -> None:
        """A pass of that many padded tokens took `ns`."""
        pace = self.pace
        expected = pace.time(padded)
        off = min(abs(ns - expected), expected)
        self._n *= _DECAY
        self._x *= _DECAY
        self._y *= _DECAY
        self._xx *= _DECAY
        self._xy *= _DECAY
        self._add(1.0, padded, min(ns, _CLIP * expected))
        n, x, y = self._n + _ANCHOR, self._x, self._y
        slope = (n * self._xy - x * y) / (n * self._xx - x * x)
        slope = min(max(slope, 1e-3), y / x)
        self.pace = Pace((y - slope * x) / n, slope, pace.spread_ns + (1 - _DECAY) * (off - pace.spread_ns))

    def _add(self, weight: float, x: float, y: float) -> None:
        self._n += weight
        self._x += weight * x
        self._y += weight * y
        self._xx += weight * x * x
        self._xy += weight * x * y
