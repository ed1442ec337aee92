"""Columns of labels, label sets and numbers turned into arrays, with every row that cannot be used named."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
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


def encode_label_sets(column: Sequence[Any], labels: Sequence[str] | None) -> Targets:
    """Membership BOOL [n, labels], labels in sorted order or that of `labels` when given.

    A cell is a list, a JSON list, or names with one separator between them: the first of `|`, `;` and `,` that occurs
    anywhere in the column. An empty cell is a row without labels. Raises `InvalidInput`.
    """
    sets = _label_sets(column)
    if not sets:
        raise InvalidInput("there are no rows; a multi-label classifier needs rows of at least two label sets")
    known = sorted({name for names in sets for name in names}) if labels is None else list(labels)
    for row, names in enumerate(sets, 1):
        if strange := [name for name in names if name not in set(known)]:
            raise InvalidInput(f"label {strange[0]!r} in row {row} is not one of {known}")
    if labels is None and len({frozenset(names) for names in sets}) == 1:
        raise InvalidInput(
            f"all {len(sets)} rows have the labels {sorted(sets[0])}; a multi-label classifier needs rows that differ",
            fix="check --labels-column, or add rows with other labels",
        )
    index = {name: i for i, name in enumerate(known)}
    values = np.zeros((len(sets), len(known)), bool)
    for row, names in enumerate(sets):
        values[row, [index[name] for name in names]] = True
    return Targets(values, tuple(known))


def encode_numbers(column: Sequence[Any]) -> Targets:
    """Numbers FP32 [n]. Raises `InvalidInput` for what is no finite number, or if all are equal."""
    numbers = [_number(value) for value in column]
    if not numbers:
        raise InvalidInput("there are no rows; a regression needs rows of at least two values")
    if wrong := [i for i, number in enumerate(numbers, 1) if not math.isfinite(number)]:
        raise InvalidInput(
            f"the target in {_rows(wrong)} is no finite number, e.g. {column[wrong[0] - 1]!r}",
            fix="write numbers with a decimal point and without units, or remove these rows",
        )
    values = np.array(numbers, np.float64)
    if (values == values[0]).all():
        raise InvalidInput(
            f"all {len(numbers)} rows have the target {numbers[0]:g}; a regression needs at least two values",
            fix="check --target-column",
        )
    if np.abs(values).max() > np.finfo(np.float32).max:
        raise InvalidInput("targets are too large for FP32", fix="divide them by a constant")
    return Targets(values.astype(np.float32))


def _label_sets(column: Sequence[Any]) -> list[list[str]]:
    cells = [value.tolist() if hasattr(value, "tolist") else value for value in column]
    written = [cell for cell in cells if isinstance(cell, str) and not cell.lstrip().startswith("[")]
    separator = next((mark for mark in "|;," if any(mark in cell for cell in written)), ",")
    return [_names(cell, separator, row) for row, cell in enumerate(cells, 1)]


def _names(cell: Any, separator: str, row: int) -> list[str]:
    parts: Iterable[Any]
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        try:
            parts = json.loads(cell)
        except ValueError as error:
            raise InvalidInput(f"the labels in row {row} are no JSON list: {error}") from error
    elif isinstance(cell, (list, tuple)):
        parts = cell
    else:
        parts = _label(cell).split(separator)
    return list(dict.fromkeys(name for name in map(_label, parts) if name))


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


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
