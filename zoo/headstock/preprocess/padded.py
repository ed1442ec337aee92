"""Batches padded beyond their longest row, by the preprocessor's own padding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from headstock.preprocess.spec import Array, Row

Collate = Callable[[Sequence[Row]], Mapping[str, Array]]
"""Rows to graph inputs, first axis the row."""


def padded(collate: Collate, size: Callable[[int], int]) -> Collate:
    """`collate` with every batch padded to `size(steps)` steps, where its longest row has `steps`.

    Only for backbones that allow padding, and whose rows differ in length.
    """

    def longer(rows: Sequence[Row]) -> Mapping[str, Array]:
        longest = max(rows, key=lambda row: row.steps)
        steps = size(longest.steps)
        if steps <= longest.steps:
            return collate(rows)
        # A row of that length makes the preprocessor pad the others, and leaves again.
        return {name: array[:-1] for name, array in collate([*rows, resized(longest, steps)]).items()}

    return longer


def resized(row: Row, steps: int) -> Row:
    """The row with its values repeated or cut to `steps`; something to pad to or to measure with, not to answer."""
    return Row({n: np.resize(t, (steps, *t.shape[1:])) for n, t in row.tensors.items()}, max(1, steps))
