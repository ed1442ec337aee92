"""Small passes of repeated shapes, replayed: which shapes are captured at load, and how a pass finds one."""

from __future__ import annotations

import bisect
import logging
from collections.abc import Mapping, Sequence

from headstock.graph import Graph
from headstock.preprocess import Row
from headstock.preprocess.padded import Collate, resized
from headstock_server.engine.buckets import filled
from headstock_server.scheduler.contract import Array, Floats
from headstock_server.scheduler.policy import Budget

log = logging.getLogger("headstock.server")

_LENGTHS = (8, 16, 24, 32, 48, 64, 96, 128)
_ROWS = (1, 2, 4, 8, 16, 32)
_MOST = 40
"""Captured shapes of one backbone: each keeps memory of its own on the device."""


class Replays:
    """Runs passes of a graph; those that fit a captured shape are filled up to its rows and replayed."""

    def __init__(self, graph: Graph) -> None:
        """Nothing is captured yet."""
        self._graph = graph
        self._names: tuple[str, ...] = ()
        self._rows: dict[tuple[object, ...], list[int]] = {}

    def __len__(self) -> int:
        """Shapes that were captured."""
        return sum(map(len, self._rows.values()))

    def run(self, feeds: Mapping[str, Array], taps: Sequence[str]) -> list[Floats]:
        """The taps of a pass."""
        if not self._rows:
            return self._graph.run(feeds, taps)
        count = len(feeds[self._names[0]])
        known = self._rows.get(_key(feeds, self._names, taps), ())
        place = bisect.bisect_left(known, count)
        if place == len(known) or known[place] == count:
            return self._graph.run(feeds, taps)
        return [found[:count] for found in self._graph.run(filled(feeds, self._names, known[place]), taps)]

    def capture(self, collate: Collate, row: Row, taps: Sequence[str], budget: Budget, *, fixed_length: bool) -> None:
        """Capture passes of each tap alone, small shapes first: there the launch of kernels takes most of the time.

        `row` is something to measure with; `fixed_length` says that it cannot be of another length.
        """
        lengths = (row.steps,) if fixed_length else _LENGTHS
        for rows, length in _shapes(budget, lengths, row.length / row.steps):
            feeds = collate([resized(row, length)] * rows)
            self._names = tuple(feeds)
            for tap in taps:
                if len(self) >= _MOST or not self._graph.capture(feeds, [tap]):
                    log.info("%d shapes are replayed as CUDA graphs", len(self))
                    return
                bisect.insort(self._rows.setdefault(_key(feeds, self._names, [tap]), []), rows)
        log.info("%d shapes are replayed as CUDA graphs", len(self))


def _shapes(budget: Budget, lengths: Sequence[int], cost: float) -> list[tuple[int, int]]:
    """Rows and lengths within the budget, by their product; `cost` is that of one step."""
    found = [
        (rows, length)
        for rows in _ROWS
        for length in lengths
        if rows <= budget.rows and (rows == 1 or rows * length * cost <= budget.tokens)
    ]
    return sorted(found, key=lambda shape: (shape[0] * shape[1], shape[0]))


def _key(feeds: Mapping[str, Array], names: Sequence[str], taps: Sequence[str]) -> tuple[object, ...]:
    return (tuple(taps), *(feeds[name].shape[1:] for name in names))
