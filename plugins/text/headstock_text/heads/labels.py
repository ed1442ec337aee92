"""A column of class labels turned into numbers, with every row that cannot be used named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from headstock.errors import InvalidInput
from headstock.hookspecs import Targets


def encode_labels(column: Sequence[Any], labels: Sequence[str] | None, purpose: str) -> Targets:
    """Class indices INT64 [n]; class order is sorted, or that of `labels` when given.

    Raises `InvalidInput` for empty labels, labels outside `labels`, fewer than two classes, or as many as rows.
    Rows are counted from 1.
    """
    names = [_label(value) for value in column]
    if not names:
        raise InvalidInput(f"there are no rows; {purpose} needs rows of at least two labels")
    if empty := [i for i, name in enumerate(names, 1) if not name]:
        raise InvalidInput(f"the label is empty in {_rows(empty)}", fix="fill in the labels or remove these rows")
    known = sorted(set(names)) if labels is None else list(labels)
    if strange := [i for i, name in enumerate(names, 1) if name not in set(known)]:
        raise InvalidInput(f"label {names[strange[0] - 1]!r} in {_rows(strange)} is not one of {known}")
    if labels is None:
        _check_variety(names, known, purpose)
    index = {name: i for i, name in enumerate(known)}
    return Targets(np.array([index[name] for name in names], dtype=np.int64), tuple(known))


def _check_variety(names: Sequence[str], known: Sequence[str], purpose: str) -> None:
    if len(known) < 2:
        raise InvalidInput(
            f"all {len(names)} rows have the label {known[0]!r}; {purpose} needs at least two labels",
            fix="check --label-column, or add rows of another label",
        )
    if len(known) == len(names) and len(names) > 2:
        raise InvalidInput(
            f"each of the {len(names)} rows has a label of its own, from row 1 ({names[0]!r}) to row {len(names)} "
            f"({names[-1]!r}); {purpose} needs several rows per label",
            fix="check --label-column: ids, texts and measurements are no labels",
        )


def _label(value: Any) -> str:
    if hasattr(value, "item"):
        value = value.item()
    if value is None or value != value:
        return ""
    # A column of whole numbers with one gap reaches us as floats.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _rows(numbers: Sequence[int]) -> str:
    shown = ", ".join(str(n) for n in numbers[:5])
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return f"row{'s' if len(numbers) > 1 else ''} {shown}{more}"
