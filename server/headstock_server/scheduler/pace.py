"""How long a pass takes: a table of sizes that were seen, over a line for those that were not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Times = npt.NDArray[np.float64]

_DECAY = 0.97
_ANCHOR = 0.25
"""Weight of a point at zero: a lane whose passes are all of one size is taken to be proportional."""
_STARTING_PASSES = 4.0
"""How many passes the profiled rate counts for."""
_CLIP = 2.0
"""A pass that took longer than this times the estimate counts as that much: one stall must not turn callers away."""
_STRETCH_WEIGHT = 0.2
"""Of the newest pass in the stretch."""
_MOST_STRETCHED = 4.0
"""One pass counts as at most that."""
_MEMORY = 16.0
"""Passes of one size whose mean stands in the table; more make it slow to follow."""


class Cell(NamedTuple):
    """The mean pass of one bucket: rows within a factor of two, and lengths within a factor of two."""

    padded: float
    ns: float


Table: TypeAlias = Mapping[int, Mapping[int, Cell]]
"""Cells by length bucket and by row bucket; bucket b holds numbers above 2**(b - 1) and up to 2**b."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Time of a pass as a function of its rows and of its longest row."""

    fixed_ns: float
    token_ns: float
    spread_ns: float = 0.0
    """How far passes lie from the estimate, on average."""
    table: Table = field(default_factory=dict)
    """What was measured; sizes that were not take the nearest count of rows of their length, else the line."""
    stretch: float = 1.0
    """How many times longer than the least that is known (`least`) passes have been taking, from choice to answer."""

    def time(self, padded: float) -> float:
        """Nanoseconds that a pass of that many padded tokens takes by the line alone."""
        return self.fixed_ns + self.token_ns * padded

    def of(self, rows: int, longest: int) -> float:
        """Nanoseconds that a pass of `rows` rows, the longest of `longest` tokens, is expected to take."""
        line = self.time(rows * longest)
        cells = self.table.get(_bucket(longest))
        return line if cells is None else line * self._factor(_nearest(cells, _bucket(rows)))

    def alone(self, lengths: Ints) -> Times:
        """The same for passes of one row, for many lengths at once."""
        lines = np.asarray(self.fixed_ns + self.token_ns * lengths, np.float64)
        if not self.table:
            return lines
        factors = np.ones(64)
        for bucket, cells in self.table.items():
            factors[bucket] = self._factor(_nearest(cells, 0))
        # The exponent of a whole number is how many bits it has.
        times: Times = lines * factors[np.frexp(lengths - 1)[1]]
        return times

    def token(self, longest: int) -> float:
        """Least nanoseconds that a token of a row of that length costs in any pass that is known."""
        cells = self.table.get(_bucket(longest))
        if cells is None:
            return self.token_ns
        return min(cell.ns / cell.padded for cell in cells.values())

    def least(self, lengths: Iterable[int]) -> float:
        """Least nanoseconds that rows of these lengths cost, each in the best pass that is known."""
        # Passes have few lengths.
        return sum([count * length * self.token(length) for length, count in Counter(lengths).items()])

    def _factor(self, cell: Cell) -> float:
        """What the passes of a cell take, over what the line says of them."""
        return cell.ns / self.time(cell.padded)


class PaceMeter:
    """Keeps a lane's `pace`. One thread observes at a time; any thread may read."""

    __slots__ = ("_n", "_weights", "_x", "_xx", "_xy", "_y", "pace")

    def __init__(self, token_ns: float, tokens: int, measured: Iterable[tuple[int, int, float]] = ()) -> None:
        """Begin with `token_ns` per token, which was measured at passes of `tokens`.

        `measured` are passes that were timed before: rows, tokens of the longest row, nanoseconds.
        """
        self._n = self._x = self._y = self._xx = self._xy = 0.0
        self._weights: dict[tuple[int, int], float] = {}
        self.pace = Pace(0.0, max(token_ns, 1e-3))
        self._add(_STARTING_PASSES, tokens, self.pace.time(tokens))
        for rows, longest, ns in measured:
            table = self._measured(rows, longest, ns)
            self.pace = Pace(self.pace.fixed_ns, self.pace.token_ns, 0.0, table)

    def observe(self, rows: int, longest: int, ns: float) -> None:
        """A pass of `rows` rows, the longest of `longest` tokens, took `ns`."""
        pace = self.pace
        padded, expected = rows * longest, pace.of(rows, longest)
        off = min(abs(ns - expected), expected)
        ns = min(ns, _CLIP * expected)
        self._n *= _DECAY
        self._x *= _DECAY
        self._y *= _DECAY
        self._xx *= _DECAY
        self._xy *= _DECAY
        self._add(1.0, padded, ns)
        n, x, y = self._n + _ANCHOR, self._x, self._y
        slope = (n * self._xy - x * y) / (n * self._xx - x * x)
        slope = min(max(slope, 1e-3), y / x)
        spread = pace.spread_ns + (1 - _DECAY) * (off - pace.spread_ns)
        self.pace = Pace((y - slope * x) / n, slope, spread, self._measured(rows, longest, ns), pace.stretch)

    def answered(self, lengths: Iterable[int], ns: int) -> None:
        """A pass of rows of these lengths took `ns` from its choice to its answers, with all that went on beside it."""
        pace = self.pace
        taken = min(max(ns / pace.least(lengths), 1.0), _MOST_STRETCHED)
        self.pace = replace(pace, stretch=pace.stretch + _STRETCH_WEIGHT * (taken - pace.stretch))

    def _measured(self, rows: int, longest: int, ns: float) -> Table:
        """The table with one more pass in it; a new one, because any thread may be reading the old one."""
        table, key = self.pace.table, (_bucket(longest), _bucket(rows))
        cells = table.get(key[0], {})
        before = cells.get(key[1]) or Cell(rows * longest, ns)
        weight = self._weights[key] = min(self._weights.get(key, 0.0) + 1.0, _MEMORY)
        cell = Cell(before.padded + (rows * longest - before.padded) / weight, before.ns + (ns - before.ns) / weight)
        return {**table, key[0]: {**cells, key[1]: cell}}

    def _add(self, weight: float, x: float, y: float) -> None:
        self._n += weight
        self._x += weight * x
        self._y += weight * y
        self._xx += weight * x * x
        self._xy += weight * x * y


def _bucket(number: int) -> int:
    return (number - 1).bit_length()


def _nearest(cells: Mapping[int, Cell], rows: int) -> Cell:
    """The cell of that bucket of rows, or of the nearest one; of two equally near, the one with fewer rows."""
    cell = cells.get(rows)
    return cell if cell is not None else cells[min(cells, key=lambda bucket: (abs(bucket - rows), bucket))]
