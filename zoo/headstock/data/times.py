"""A column of moments as numbers that sort."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import Any

from headstock.data.cells import number_of
from headstock.data.table import Table
from headstock.errors import InvalidInput


def times_of(table: Table, column: str) -> list[float]:
    """One number per row: the column's own numbers, or seconds since 1970 of dates; without a zone they are UTC.

    Raises `InvalidInput` naming the rows that hold neither.
    """
    cells = table.column(column, "--time-column")
    for convert in (number_of, _seconds):
        times = [convert(cell) for cell in cells]
        if all(map(math.isfinite, times)):
            return times
    wrong = _neither(cells)
    raise InvalidInput(
        f"{table.name!r} has no moment in column {column!r} at {table.where(wrong)}, e.g. {cells[wrong[0]]!r}; "
        "expected dates such as 2026-01-31 or 2026-01-31T12:00:00, or numbers, the same kind in every row"
    )


def _neither(cells: Sequence[Any]) -> list[int]:
    dates = [math.isfinite(_seconds(cell)) for cell in cells]
    fits = dates if any(dates) else [math.isfinite(number_of(cell)) for cell in cells]
    return [row for row, good in enumerate(fits) if not good]


def _seconds(cell: Any) -> float:
    if isinstance(cell, str):
        try:
            cell = datetime.fromisoformat(cell.strip())
        except ValueError:
            return math.nan
    if isinstance(cell, date) and not isinstance(cell, datetime):
        cell = datetime.combine(cell, time())
    if not isinstance(cell, datetime):
        return math.nan
    return (cell if cell.tzinfo else cell.replace(tzinfo=UTC)).timestamp()
