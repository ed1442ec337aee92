"""Lengths and rows rounded up, so that a device meets few shapes and meets them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from headstock_server.scheduler.contract import Array

_LEAST = 8


def rounded(steps: int, most: int | None = None) -> int:
    """`steps` rounded up to a multiple of 8, beyond 64 of an eighth of the power of two below it; at most `most`.

    The padding is below 8 steps or an eighth of the pass, and all lengths up to 512 make 32 shapes.
    """
    size = max(_LEAST, 1 << max(0, steps.bit_length() - 4))
    found = -(-steps // size) * size
    return found if most is None else max(steps, min(found, most))


def filled(feeds: Mapping[str, Array], names: Sequence[str], rows: int) -> dict[str, Array]:
    """`feeds` with the last row of each of `names` repeated up to `rows` rows; the others are no rows and stay."""
    return {
        name: np.concatenate([array, np.repeat(array[-1:], rows - len(array), axis=0)]) if name in names else array
        for name, array in feeds.items()
    }
