"""Any data set on disk as a table, by what it looks like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headstock.data.files import Folder
from headstock.data.formats import conll, delimited, jsonl, lines
from headstock.data.formats.reading import Fault, Rows
from headstock.data.table import Table, Unit
from headstock.digest import digest_bytes
from headstock.errors import InvalidInput

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".txt", ".conll", ".bio", ".iob", ".iob2")
"""File types that `read_table` knows; it knows folders besides."""


def read_table(path: Path, *, tolerant: bool = False) -> Table:
    """Read a data file by its suffix, or a folder by what is in it.

    Raises `InvalidInput` for what is missing, empty, malformed or not UTF-8, naming the lines or the file; lines that
    make no row stand in `Table.faults` instead if `tolerant`.
    """
    if path.is_dir():
        return _folder(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InvalidInput(
            f"cannot tell the format of {path.name!r} by its suffix; "
            f"expected one of {', '.join(SUFFIXES)}, or a folder",
            fix="rename the file, or convert it to CSV",
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(
            f"cannot read the data file {path.name!r}: {error.strerror}", fix="the path of a file or folder that exists"
        ) from error
    if not data.strip():
        raise InvalidInput(
            f"the data file {path.name!r} is empty; expected a header and rows",
            fix="write the rows to it, or name another",
        )
    rows = _rows(path.name, suffix, data)
    if rows.faults and not tolerant:
        raise _malformed(path.name, rows.faults)
    if not rows.places:
        raise InvalidInput(
            f"the data file {path.name!r} has a header but no rows", fix="write the rows to it, or name another"
        )
    unit: Unit = "row" if suffix == ".parquet" else "line"
    digest, folder = digest_bytes(data), Folder(path.parent)
    return Table(path.name, digest, rows.columns, rows.places, unit, folder, faults=rows.faults)


def _malformed(name: str, faults: Sequence[Fault]) -> InvalidInput:
    more = f"; so are {len(faults) - 1} more lines, e.g. line {faults[1].place}" if len(faults) > 1 else ""
    return InvalidInput(f"{name!r} line {faults[0].place} is malformed: {faults[0].why}{more}", fix=faults[0].fix)


def _rows(name: str, suffix: str, data: bytes) -> Rows:
    if suffix in (".csv", ".tsv"):
        return delimited.read(name, data, tabs=suffix == ".tsv")
    if suffix in (".jsonl", ".ndjson"):
        return jsonl.read(name, data)
    if suffix == ".txt":
        return lines.read(name, data)
    if suffix == ".parquet":
        from headstock.data.formats import arrow

        return arrow.parquet(name, data)
    return conll.read(name, data)


def _folder(path: Path) -> Table:
    from headstock.data.formats import datasets_folder, folder

    if datasets_folder.recognises(path):
        table = datasets_folder.read(path)
        if not len(table):
            raise InvalidInput(f"the saved data set {table.name!r} has no rows")
        return table
    return folder.read(path)
