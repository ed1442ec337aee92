"""From a table to its schema: what each column is, judged by its values unless told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from headstock.data import Table
from headstock.data.cells import json_value
from headstock.errors import InvalidInput
from headstock.preprocess.table import category_text
from headstock.preprocess.table_options import CYCLES, ISO, MISSING, Column, ColumnType, TableOptions

MAX_CATEGORIES = 512
"""Most categories of a column that get an index of their own; the rarest share that of unseen ones."""
_FORMATS = (ISO, "%Y/%m/%d", "%d.%m.%Y", "%d.%m.%Y %H:%M")
_TEXT_SHARE, _TEXT_DISTINCT = 0.5, 20


@dataclass(frozen=True, slots=True)
class Schema:
    """A table's schema, and what a person should know about how it came to be."""

    options: TableOptions
    notes: tuple[str, ...]
    """One sentence per column that was left out or guessed at."""


def infer_schema(table: Table, told: Mapping[str, ColumnType] | None = None) -> Schema:
    """The schema of a table; `told` says what some columns are.

    Labels must be told to be `ignored`, or the network sees them. Raises `InvalidInput` for told columns that do not
    exist or do not hold what was said.
    """
    told = dict(told or {})
    for name in told:
        table.column(name, f"--{told[name]}")
    columns, notes = [], []
    for name, values in table.columns.items():
        column, note = _column(name, [json_value(value) for value in values], told.get(name))
        columns.append(column)
        notes += [note] if note else []
    return Schema(TableOptions(tuple(columns)), tuple(notes))


def records_of(table: Table) -> list[dict[str, Any]]:
    """The table's rows as the preprocessing takes them."""
    columns = {name: [json_value(value) for value in values] for name, values in table.columns.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _column(name: str, values: Sequence[Any], told: ColumnType | None) -> tuple[Column, str]:
    """The column, and a note if it was left out."""
    if told == "ignored":
        return Column(name, "ignored"), ""
    present = [v for v in values if v is not None and not (isinstance(v, str) and v.strip() in MISSING)]
    distinct = Counter(category_text(v) for v in present)
    if told is None and len(distinct) < 2:
        what = f"the same value in all rows, {next(iter(distinct))!r}" if distinct else "no values"
        return Column(name, "ignored"), f"{name!r} has {what}: ignored"
    guesses: Mapping[str, Callable[[str, Sequence[Any]], Column | None]]
    guesses = {"numeric": _numeric, "date": _date, "categorical": _categorical}
    # Categories come last: anything can be one.
    candidates: tuple[ColumnType, ...] = (told,) if told else ("numeric", "date")
    for type_ in candidates:
        if column := guesses[type_](name, present):
            return column, ""
    if told:
        raise InvalidInput(f"column {name!r} does not hold what --{told} says: {present[:3]!r}")
    if len(distinct) > max(_TEXT_DISTINCT, _TEXT_SHARE * len(present)):
        return Column(name, "ignored"), f"{name!r} looks like ids or free text ({len(distinct)} values): ignored"
    # With empty texts only: "NA" can be a category.
    return _categorical(name, [v for v in values if v is not None]), ""


def _numeric(name: str, values: Sequence[Any]) -> Column | None:
    # Codes such as 01234 are no numbers: their zeros count.
    if any(isinstance(v, bool) or _is_code(v) for v in values):
        return None
    try:
        numbers = np.array([float(v) for v in values])
    except (ValueError, TypeError, OverflowError):
        return None
    if not np.isfinite(numbers).all():
        return None
    return Column(name, "numeric", *_moments(numbers))


def _is_code(value: Any) -> bool:
    return isinstance(value, str) and (
        "_" in value or (len(value.strip()) > 1 and value.strip()[0] == "0" and value.strip().isdigit())
    )


def _date(name: str, values: Sequence[Any]) -> Column | None:
    if not all(isinstance(v, str) for v in values):
        return None
    for format_ in _FORMATS:
        column = Column(name, "date", format=format_)
        try:
            days = np.array([column.days(v.strip()) for v in values])
        except (ValueError, OverflowError):
            continue
        mean, scale = _moments(days)
        clock = bool((days % 1.0 != 0).any())
        cycles = tuple(cycle for cycle in CYCLES if cycle != "day" or clock)
        return replace(column, mean=mean, scale=scale, cycles=cycles)
    return None


def _categorical(name: str, values: Sequence[Any]) -> Column:
    count = Counter(text for value in values if (text := category_text(value)))
    # A category that stands in one row alone teaches nothing but that row; as an unseen one it teaches what those mean.
    usual = [text for text, times in count.items() if times > 1 or len(values) < 2 * len(count)]
    listed = sorted(usual or count, key=lambda text: (-count[text], text))[:MAX_CATEGORIES]
    return Column(name, "categorical", categories=tuple(sorted(listed)))


def _moments(numbers: npt.NDArray[np.float64]) -> tuple[float, float]:
    mean, scale = float(numbers.mean()), float(numbers.std())
    # One value in all rows, or nearly: dividing by rounding errors would make them everything.
    return mean, scale if scale > 1e-9 * max(1.0, abs(mean)) else 1.0
