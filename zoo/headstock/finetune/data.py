"""Tables from CSV, TSV, JSONL and Parquet files, with the line that every row came from."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from headstock.digest import Digest, digest_bytes
from headstock.errors import FailedPrecondition, InvalidInput

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
"""File types that `read_table` knows."""


@dataclass(frozen=True, slots=True)
class Table:
    """A data file's rows by column, with where each row stands in the file."""

    name: str
    """File name without its folder."""
    sha256: Digest
    """Digest of the file's bytes."""
    columns: Mapping[str, Sequence[Any]]
    """Column name to one value per row; None where the file has none."""
    places: Sequence[int]
    """Where each row begins, counted from 1."""
    unit: Literal["line", "row"]
    """What `places` counts: lines of a text file, or rows of a Parquet file."""

    def __len__(self) -> int:
        return len(self.places)

    def column(self, name: str, option: str) -> Sequence[Any]:
        """That column's values; raises `InvalidInput` with the columns that exist."""
        if name in self.columns:
            return self.columns[name]
        close = get_close_matches(name, self.columns, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise InvalidInput(
            f"{self.name!r} has no column {name!r}; it has {', '.join(map(repr, self.columns))}{hint}",
            fix=f"{option} {close[0]}" if close else f"{option} NAME with one of those columns",
        )

    def where(self, rows: Sequence[int]) -> str:
        """`line 3` or `lines 3, 9, 12 and 4 more`, for messages."""
        shown = ", ".join(str(self.places[r]) for r in rows[:5])
        more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
        return f"{self.unit}{'s' if len(rows) > 1 else ''} {shown}{more}"


def read_table(path: Path) -> Table:
    """Read a data file by its suffix.

    Raises `InvalidInput` for a missing, empty, malformed or non-UTF-8 file, naming the line.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InvalidInput(
            f"cannot tell the format of {path.name!r} by its suffix; expected one of {', '.join(SUFFIXES)}",
            fix="rename the file, or convert it to CSV",
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read the data file {path.name!r}: {error.strerror}") from error
    if not data.strip():
        raise InvalidInput(f"the data file {path.name!r} is empty; expected a header and rows")
    if suffix == ".parquet":
        columns, places = _parquet(path.name, data)
    elif suffix == ".jsonl":
        columns, places = _jsonl(path.name, _decode(path.name, data))
    else:
        columns, places = _csv(path.name, _decode(path.name, data), tabs=suffix == ".tsv")
    if not places:
        raise InvalidInput(f"the data file {path.name!r} has a header but no rows")
    unit: Literal["line", "row"] = "row" if suffix == ".parquet" else "line"
    return Table(path.name, digest_bytes(data), columns, places, unit)


def _decode(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidInput(
            f"{name!r} is not UTF-8: line {line} holds the byte 0x{data[error.start]:02x}",
            fix=f"iconv -f LATIN1 -t UTF-8 {name} > utf8-{name}   (or whatever encoding it was saved in)",
        ) from error


def _csv(name: str, text: str, *, tabs: bool) -> tuple[dict[str, list[Any]], list[int]]:
    delimiter = "\t" if tabs else _delimiter(text)
    # The default limit of 128 KiB a field is below what a long document needs; the file is in memory already.
    previous_limit = csv.field_size_limit(max(len(text), 1))
    try:
        return _csv_rows(name, csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    finally:
        csv.field_size_limit(previous_limit)


def _csv_rows(name: str, reader: Any) -> tuple[dict[str, list[Any]], list[int]]:
    header: list[str] | None = None
    rows: list[list[str]] = []
    places: list[int] = []
    start = 1
    try:
        for fields in reader:
            if not fields:
                pass
            elif header is None:
                header = _header(name, fields)
            elif len(fields) != len(header):
                raise InvalidInput(
                    f"{name!r} line {start}: {len(fields)} fields where the header has {len(header)}",
                    fix='put quotes around text that holds the separator: "like, this"',
                )
            else:
                rows.append(fields)
                places.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise InvalidInput(
            f"{name!r} line {start}: {error}", fix='double the quotes inside quotes: "a ""b"" c"'
        ) from error
    return {column: [row[i] for row in rows] for i, column in enumerate(header or [])}, places


def _delimiter(text: str) -> str:
    # Spreadsheets of many countries save "CSV" with semicolons.
    header = text.lstrip().partition("\n")[0]
    return max(",;\t", key=header.count)


def _header(name: str, fields: Sequence[str]) -> list[str]:
    header = [field.strip() for field in fields]
    for i, column in enumerate(header):
        if not column:
            raise InvalidInput(f"{name!r}: column {i + 1} has no name; expected a header line with names")
        if column in header[:i]:
            raise InvalidInput(f"{name!r}: two columns are called {column!r}; rename one")
    return header


def _jsonl(name: str, text: str) -> tuple[dict[str, list[Any]], list[int]]:
    rows: list[dict[str, Any]] = []
    places: list[int] = []
    # Not splitlines(): JSON strings may hold U+2028, which is no line end of the file.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise InvalidInput(f"{name!r} line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise InvalidInput(
                f"{name!r} line {number} is a {type(row).__name__}; expected an object such as "
                '{"text": "...", "label": "..."}'
            )
        rows.append(row)
        places.append(number)
    names = dict.fromkeys(key for row in rows for key in row)
    return {key: [row.get(key) for row in rows] for key in names}, places


def _parquet(name: str, data: bytes) -> tuple[dict[str, list[Any]], list[int]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise FailedPrecondition(
            "reading Parquet needs pyarrow, which is not installed", fix="pip install 'headstock[train]'"
        ) from error
    try:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(data))
    except (pyarrow.ArrowException, OSError) as error:
        raise InvalidInput(f"{name!r} is not a readable Parquet file: {str(error)[:200]}") from error
    columns = {column: table.column(i).to_pylist() for i, column in enumerate(table.column_names)}
    return columns, list(range(1, table.num_rows + 1))
