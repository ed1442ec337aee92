"""Rows made up from a table's schema: what a pull shows a new table backbone to check its exported graph."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from headstock.preprocess.table_options import ISO, Column, TableOptions

ROWS = 16
UNSEEN = "a category that no schema lists"

# Dates that every format can write.
_FIRST, _LAST = -25_000, 80_000


def samples(options: TableOptions) -> list[bytes]:
    """Rows as JSON: usual values, and in every column a missing and an unseen one; the same on every call."""
    random = np.random.default_rng(7)
    places = {column.name: place for place, column in enumerate(options.columns)}

    def row(turn: int) -> bytes:
        return _row(options, lambda column: _usual(column, (turn + places[column.name]) % ROWS, random))

    return [row(turn) for turn in range(ROWS)]


def hostile(options: TableOptions) -> list[bytes]:
    """Rows to try neighbours with: all values at either end, all missing, all unseen."""
    return [
        _row(options, lambda column: _at(column, -1e6)),
        _row(options, lambda column: _at(column, 1e6)),
        _row(options, lambda column: None),
        _row(options, lambda column: UNSEEN if column.type == "categorical" else _at(column, 0.0)),
    ]


def _row(options: TableOptions, value: Callable[[Column], Any]) -> bytes:
    return json.dumps({c.name: value(c) for c in options.columns if c.type != "ignored"}).encode()


def _usual(column: Column, turn: int, random: np.random.Generator) -> Any:
    if turn == 0:
        return None
    if column.type == "categorical":
        return UNSEEN if turn == 1 or not column.categories else str(random.choice(column.categories))
    return _at(column, float(random.normal()))


def _at(column: Column, deviations: float) -> Any:
    """The value of a column that many standard deviations off its mean; of categories, the first or the last."""
    if column.type == "categorical":
        return column.categories[0 if deviations < 0 else -1] if column.categories else UNSEEN
    value = column.mean + deviations * column.scale
    if column.type == "numeric":
        return value
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=min(max(value, _FIRST), _LAST))
    return moment.isoformat() if column.format == ISO else moment.strftime(column.format)
