"""Times single rows of growing length: attention makes a token of a long row dearer than the profile's short ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from headstock.preprocess import Preprocessor, Row
from headstock_server.engine.profile import Point, Profile

_LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
_SHARE = 0.3
"""Of the time that profiling may take, on top of it."""


def with_lengths(
    profile: Profile, run: Callable[[Sequence[Row]], object], preprocessor: Preprocessor, seconds: float
) -> Profile:
    """The profile with points of one long row each, as many as fit into the time.

    Unchanged if it was not measured, or if it has such points already.

    `seconds` is what profiling may take. Kinds of input other than text are measured at the lengths that they have.
    """
    alone = [point for point in profile.points if point.rows == 1]
    if len(alone) != 1 or preprocessor.spec.kind != "text":
        return profile
    deadline = time.perf_counter() + _SHARE * seconds
    points: list[Point] = []
    (last,) = alone
    for wanted in _LENGTHS:
        # The texts are one-letter words: about a token each, and two more at the ends.
        (row,) = preprocessor.rows([b"a " * (wanted - 2)])
        # Twice, because the first pass of a size also pays for its memory; at worst four times as long as half of it.
        expected = last.seconds * (row.length / last.tokens) ** 2
        if row.length <= last.tokens or time.perf_counter() + 2 * expected > deadline:
            break
        last = Point(1, row.length, min(_timed(run, row), _timed(run, row)))
        points.append(last)
    return replace(profile, points=(*profile.points, *points))


def _timed(run: Callable[[Sequence[Row]], object], row: Row) -> float:
    start = time.perf_counter()
    run([row])
    return time.perf_counter() - start
