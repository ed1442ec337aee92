"""CSV and TSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from headstock.data.formats.reading import Fault, Rows, decode
from headstock.errors import InvalidInput

_QUOTES = 'put quotes around text that holds the separator: "like, this"'


def read(name: str, data: bytes, *, tabs: bool) -> Rows:
    """Rows under a header line; `tabs` fixes the separator, else the header shows it. Raises `InvalidInput`."""
    text = decode(name, data)
    delimiter = "\t" if tabs else _delimiter(text)
    # The default limit of 128 KiB a field is below what a long document needs; the file is in memory already.
    previous_limit = csv.field_size_limit(max(len(text), 1))
    try:
        return _rows(name, csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    finally:
        csv.field_size_limit(previous_limit)


def _rows(name: str, reader: Any) -> Rows:
    header: list[str] | None = None
    rows: list[list[str]] = []
    places: list[int] = []
    faults: list[Fault] = []
    start = 1
    try:
        for fields in reader:
            if not fields:
                pass
            elif header is None:
                header = _header(name, fields)
            elif len(fields) != len(header):
                faults.append(Fault(start, f"{len(fields)} fields where the header has {len(header)}", _QUOTES))
            else:
                rows.append(fields)
                places.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise InvalidInput(
            f"{name!r} line {start}: {error}", fix='double the quotes inside quotes: "a ""b"" c"'
        ) from error
    return Rows({column: [row[i] for row in rows] for i, column in enumerate(header or [])}, places, faults)


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
