"""Finds the rows of a pass that are equal, so that the backbone computes each of them once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

from headstock.preprocess import Row

_SAMPLED = 16
"""About so many values of a row's first tensor are looked at before all of it is."""


def places(rows: Sequence[Row], marks: Sequence[int] | None = None) -> list[int] | None:
    """Per row its place among the different ones, counted in order of their first; None where all are different.

    Rows are equal if every tensor has the same bits, and so has what `marks` says of them beside their tensors.
    """
    if len(rows) == 1:
        return None
    samples = [_sample(row) for row in rows] if marks is None else [*zip(map(_sample, rows), marks, strict=True)]
    counted: Counter[Hashable] = Counter(samples)
    if len(counted) == len(rows):
        return None
    found: dict[Hashable, int] = {}
    ordered = []
    for i, (row, sample) in enumerate(zip(rows, samples, strict=True)):
        # Whole rows are read only where a part was equal, and looked up, not compared in pairs: a caller could make
        # many that differ in their last value alone.
        key = i if counted[sample] == 1 else (sample, *_content(row))
        ordered.append(found.setdefault(key, len(found)))
    return None if len(found) == len(rows) else ordered


def firsts(places: Sequence[int]) -> list[int]:
    """The row that stands for each place."""
    found: dict[int, int] = {}
    for i, place in enumerate(places):
        found.setdefault(place, i)
    return list(found.values())


def _sample(row: Row) -> Hashable:
    flat = next(iter(row.tensors.values())).reshape(-1)
    return row.length, flat[:: len(flat) // _SAMPLED + 1].tobytes()


def _content(row: Row) -> tuple[Hashable, ...]:
    return tuple((name, a.dtype.str, a.shape, a.tobytes()) for name, a in row.tensors.items())
