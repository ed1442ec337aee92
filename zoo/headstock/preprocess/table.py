"""Rows of a table to numbers: the `table` preprocessing, on numpy and the standard library alone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstock.errors import InvalidInput
from headstock.preprocess.spec import Array, PreprocessSpec, Row
from headstock.preprocess.table_options import MISSING_INDEX, UNSEEN_INDEX, Column, TableOptions
from headstock.records import TensorSpec

MAX_BYTES = 1 << 20
"""Longest row, as JSON, that is read."""

# Spreadsheets and Python write truth with capitals, JSON without.
_TRUTH = {"True": "true", "TRUE": "true", "False": "false", "FALSE": "false"}


class TablePreprocessor:
    """The `table` kind; see `TableOptions` for its options. It has no files.

    Every value has a meaning: a missing number or date (null, absent, or one of the texts in `missing`) is NaN, a
    missing category index 0, a category that the schema does not list index 1. A value that cannot be of its column's
    type and a key that is no column are refused by name. Rows hold `numeric` FP32 [features] and `categorical` INT64
    [columns], each only where the schema has such columns, and all rows are of one shape. Thread-safe.
    """

    spec: PreprocessSpec

    def __init__(self, spec: PreprocessSpec, files: Mapping[str, Path]) -> None:
        """Check the spec. Raises `InvalidInput`."""
        if spec.files:
            raise InvalidInput(f"table preprocessing has files {sorted(spec.files)}; expected none")
        self.spec = spec
        self._options = options = TableOptions.parse(spec.options)
        self._columns = {column.name: column for column in options.columns}
        self._missing = frozenset(options.missing)
        self._limits = np.array(options.cardinalities, np.int64)
        self._indices = {
            column.name: {name: i for i, name in enumerate(column.categories, UNSEEN_INDEX + 1)}
            for column in options.categorical
        }
        self._sizes = {"numeric": len(options.features), "categorical": len(options.categorical)}
        self._length = sum(self._sizes.values())

    @property
    def raw_input(self) -> TensorSpec:
        """`row` BYTES [-1]: a JSON object, column to value."""
        return TensorSpec("row", "BYTES", (-1,))

    @property
    def tensor_inputs(self) -> tuple[TensorSpec, ...]:
        """`numeric` FP32 [-1, n], standardised, NaN where missing; `categorical` INT64 [-1, m]; those that exist."""
        types = {"numeric": "FP32", "categorical": "INT64"}
        return tuple(TensorSpec(n, types[n], (-1, size)) for n, size in self._sizes.items() if size)

    def rows(self, raw: Sequence[Any]) -> list[Row]:
        """One row per JSON object. Raises `InvalidInput` naming the row's index and the column."""
        return self.rows_from_records([_record(data, index) for index, data in enumerate(raw)])

    def rows_from_records(self, records: Sequence[Mapping[str, Any]]) -> list[Row]:
        """One row per mapping from column to value, as JSON would hold them. Raises `InvalidInput` as `rows` does."""
        return [self._row(record, index) for index, record in enumerate(records)]

    def rows_from_tensors(self, tensors: Mapping[str, Array]) -> list[Row]:
        """One row per first-axis slice of ready tensors. Raises `InvalidInput` naming the tensor or the row."""
        expected = {spec.name: spec for spec in self.tensor_inputs}
        if sorted(tensors) != sorted(expected):
            raise InvalidInput(f"inputs {sorted(tensors)} do not fit; expected {list(expected)}")
        for name, tensor in tensors.items():
            dtype = np.dtype(np.float32 if name == "numeric" else np.int64)
            if tensor.dtype != dtype:
                raise InvalidInput(f"input {name!r} has dtype {tensor.dtype}; expected {dtype}")
            if tensor.ndim != 2 or tensor.shape[1] != self._sizes[name]:
                raise InvalidInput(
                    f"input {name!r} has shape {list(tensor.shape)}; expected ['rows', {self._sizes[name]}]"
                )
        self._check_values(tensors)
        counts = {len(tensor) for tensor in tensors.values()}
        if len(counts) > 1:
            raise InvalidInput(f"inputs have {sorted(counts)} rows; expected the same number in all")
        return [Row({n: t[index] for n, t in tensors.items()}, self._length) for index in range(counts.pop())]

    def collate(self, rows: Sequence[Row]) -> dict[str, Array]:
        """The tensors of `tensor_inputs`, [len(rows), ...]."""
        names = [spec.name for spec in self.tensor_inputs]
        return {name: np.stack([row.tensors[name] for row in rows]) for name in names}

    def __repr__(self) -> str:
        return f"TablePreprocessor(features={self._sizes['numeric']}, categorical={self._sizes['categorical']})"

    def _row(self, record: Mapping[str, Any], index: int) -> Row:
        self._check_names(record, index)
        numbers: list[float] = []
        indices: list[int] = []
        for name, column in self._columns.items():
            value = record.get(name)
            if column.type == "categorical":
                indices.append(self._category(value, name, index))
            elif column.type != "ignored":
                numbers += self._numbers(value, column, index)
        tensors: dict[str, npt.NDArray[Any]] = {}
        if self._sizes["numeric"]:
            tensors["numeric"] = np.array(numbers, np.float32)
        if self._sizes["categorical"]:
            tensors["categorical"] = np.array(indices, np.int64)
        return Row(tensors, self._length)

    def _check_names(self, record: Mapping[str, Any], index: int) -> None:
        # A misspelt column would be a missing value, and a wrong answer without a word.
        for name in record:
            if name not in self._columns:
                close = get_close_matches(name, self._columns, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else f"; it has {list(self._columns)[:20]}"
                raise InvalidInput(f"row {index} has the key {name[:80]!r}, which is no column of this table{hint}")
        if not any(self._columns[name].type != "ignored" for name in record):
            raise InvalidInput(f"row {index} has none of the table's columns {list(self._columns)[:20]}")

    def _category(self, value: Any, name: str, index: int) -> int:
        if value is None:
            return MISSING_INDEX
        if isinstance(value, (Mapping, list)):
            raise _wrong(index, name, value, "a text, a number or true/false")
        text = category_text(value)
        return self._indices[name].get(text, UNSEEN_INDEX) if text else MISSING_INDEX

    def _numbers(self, value: Any, column: Column, index: int) -> list[float]:
        if value is None or (isinstance(value, str) and value.strip() in self._missing):
            return [math.nan] * len(column.features)
        number = _number(value, column.name, index) if column.type == "numeric" else _days(value, column, index)
        if math.isnan(number):
            return [math.nan] * len(column.features)
        scaled = (number - column.mean) / column.scale
        return [min(max(scaled, -self._options.clip), self._options.clip), *column.waves(number)]

    def _check_values(self, tensors: Mapping[str, Array]) -> None:
        infinite = np.isinf(tensors["numeric"]).any(axis=1) if "numeric" in tensors else np.zeros(0, bool)
        if infinite.any():
            raise InvalidInput(
                f"row {int(infinite.argmax())} of 'numeric' holds infinity; expected finite numbers, or NaN for missing"
            )
        if "categorical" in tensors:
            indices = tensors["categorical"]
            wrong = (indices < 0) | (indices >= self._limits)
            if wrong.any():
                row, column = np.argwhere(wrong)[0].tolist()
                raise InvalidInput(
                    f"input 'categorical' holds {int(indices[row, column])} at row {row}, column {column}; "
                    f"expected 0 (missing), 1 (unseen) or up to {int(self._limits[column]) - 1}"
                )


def category_text(value: Any) -> str:
    """How a category is spelt, whether it came from CSV or JSON: 3, 3.0 and "3" are one, and so are true and "True"."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    return _TRUTH.get(text, text)


def _record(data: Any, index: int) -> dict[str, Any]:
    if not isinstance(data, (bytes, str)):
        raise InvalidInput(f"row {index} is a {type(data).__name__}; expected a JSON object as bytes or str")
    if len(data) > MAX_BYTES:
        raise InvalidInput(f"row {index} has {len(data)} bytes; expected at most {MAX_BYTES}")
    try:
        value = json.loads(data, object_pairs_hook=_pairs, parse_constant=_refuse_constant)
    # UnicodeDecodeError is a ValueError.
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"row {index} is not JSON: {error}", fix='send an object such as {"age": 41}') from error
    if not isinstance(value, dict):
        raise InvalidInput(f"row {index} is a JSON {type(value).__name__}; expected an object: column to value")
    return value


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("a key stands in it twice")
    return record


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON value; a missing value is null")


def _number(value: Any, name: str, index: int) -> float:
    try:
        # Python would read 1_000 as a number; no other program does.
        if not isinstance(value, (int, float, str)) or (isinstance(value, str) and "_" in value):
            raise ValueError
        number = float(value)
    except (ValueError, OverflowError) as error:
        raise _wrong(index, name, value, "a number, or null where it is missing") from error
    if math.isinf(number):
        raise _wrong(index, name, value, "a finite number")
    return number


def _days(value: Any, column: Column, index: int) -> float:
    written = "ISO 8601, such as '2026-11-23T10:00'" if column.format == "iso" else f"the format {column.format!r}"
    try:
        if not isinstance(value, str):
            raise ValueError
        return column.days(value.strip())
    except (ValueError, OverflowError) as error:
        raise _wrong(index, column.name, value, f"a date in {written}, or null where it is missing") from error


def _wrong(index: int, name: str, value: Any, expected: str) -> InvalidInput:
    return InvalidInput(f"row {index}: column {name!r} holds {value!r:.60}; expected {expected}")
