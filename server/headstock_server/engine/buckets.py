"""Lengths and rows rounded up, so that a device meets few shapes and meets them again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from headstock.preprocess import Row
from headstock_server.scheduler.contract import Array

Collate = Callable[[Sequence[Row]], Mapping[str, Array]]

_LEAST = 8


def rounded(steps: int, most: int | None = None) -> int:
    """`steps` rounded up to a multiple of 8, beyond 64 of an eighth of the power of two below it; at most `most`.

    The padding is below 8 steps or an eighth of the pass, and all lengths up to 512 make 32 shapes.
    """
    size = max(_LEAST, 1 << max(0, steps.bit_length() - 4))
    found = -(-steps // size) * size
    return found if most is None else max(steps, min(found, most))


def rounding(collate: Collate, most: int | None = None) -> Collate:
    """`collate` with the longest row's length rounded up, padded as the preprocessor pads."""

    def padded(rows: Sequence[Row]) -> Mapping[str, Array]:
        longest = max(rows, key=lambda row: row.steps)
        steps = rounded(longest.steps, most)
        if steps == longest.steps:
            return collate(rows)
        # A row of that length makes the preprocessor pad the others, and leaves again.
        return {name: array[:-1] for name, array in collate([*rows, resized(longest, steps)]).items()}

    return padded


def resized(row: Row, steps: int) -> Row:
    """The row with its values repeated or cut to `steps`; something to pad to or to measure with, not to answer."""
    return Row({n: np.resize(t, (steps, *t.shape[1:])) for n, t in row.tensors.items()}, max(1, steps))


def filled(feeds: Mapping[str, Array], names: Sequence[str], rows: int) -> dict[str, Array]:
    """`feeds` with the last row of each of `names` repeated up to `rows` rows; the others are no rows and stay."""
    return {
        name: np.concatenate([array, np.repeat(array[-1:], rows - len(array), axis=0)]) if name in names else array
        for name, array in feeds.items()
    }
