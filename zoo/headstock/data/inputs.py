"""Raw inputs of a data set's rows: texts at hand, files that are read when a row's turn comes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from headstock.data.table import Table
from headstock.digest import Digest, canonical_json, digest_bytes
from headstock.errors import InvalidInput


class RawInputs(ABC):
    """What goes into the backbone, row by row. Thread-safe."""

    samples: tuple[Digest, ...]
    """Digest of each row's raw bytes: what the feature cache and the split know a row by."""
    block: int
    """Rows to read at a time: as many as memory holds easily."""

    @abstractmethod
    def read(self, rows: Sequence[int]) -> tuple[list[Any], ...]:
        """The rows' raw input, one list for each input of the head, as `read_rows` of `headstock.preprocess` takes."""

    @abstractmethod
    def name(self, row: int) -> str:
        """The row in words, for messages: `'cat/1.png'`, `line 3`."""

    def __len__(self) -> int:
        return len(self.samples)


class Texts(RawInputs):
    """Columns of texts: one, or question and context; or one of JSON rows."""

    block = 4096

    def __init__(self, table: Table, columns: Sequence[Sequence[str]]) -> None:
        """Columns as long as the table."""
        self._table = table
        self._columns = columns
        self.samples = tuple(_digest(values) for values in zip(*columns, strict=True))

    def read(self, rows: Sequence[int]) -> tuple[list[Any], ...]:
        """Texts as `str`."""
        return tuple([column[row] for row in rows] for column in self._columns)

    def name(self, row: int) -> str:
        """Where it stands and how it begins."""
        return f"{self._table.where([row])} that begins {self._columns[0][row][:60]!r}"


class Media(RawInputs):
    """Images or recordings: files beside the table, or bytes within it."""

    block = 128

    def __init__(self, table: Table, column: str, cells: Sequence[Any]) -> None:
        """Hash every row. Raises `InvalidInput` naming all rows without a usable file."""
        self._table = table
        self._column = column
        self._cells = cells
        _require_files(table, column, cells)
        self.samples = tuple(_media_digest(table, column, row, cell) for row, cell in enumerate(cells))

    def read(self, rows: Sequence[int]) -> tuple[list[Any], ...]:
        """Encoded bytes. Raises `FailedPrecondition` for a file that changed since it was hashed."""
        return ([self._bytes(row) for row in rows],)

    def name(self, row: int) -> str:
        """The file, or where the bytes stand."""
        path = path_in(self._cells[row])
        return self._table.where([row]) if path is None or self._table.unit == "file" else repr(path)

    def _bytes(self, row: int) -> bytes:
        cell = self._cells[row]
        path = path_in(cell)
        return cell if path is None else self._table.folder.read(path, self.samples[row])


def path_in(cell: Any) -> str | None:
    """The path that a cell of an image or audio column holds; None if it holds the bytes themselves, or nothing.

    The datasets library writes `{"bytes": None, "path": "a.png"}` for a file that it did not embed.
    """
    if isinstance(cell, dict):
        cell = cell.get("path")
    return cell.strip() if isinstance(cell, str) and cell.strip() else None


def _require_files(table: Table, column: str, cells: Sequence[Any]) -> None:
    faults: dict[str, list[int]] = {}
    for row, cell in enumerate(cells):
        path = path_in(cell)
        fault = table.folder.fault(path) if path is not None else None if isinstance(cell, bytes) else "is empty"
        if fault is not None:
            faults.setdefault(fault, []).append(row)
    for fault, rows in faults.items():
        shown = path_in(cells[rows[0]]) or ""
        raise InvalidInput(
            f"column {column!r} of {table.name!r} at {table.where(rows)}: {shown[:200]!r} {fault}",
            fix=f"paths are relative to the folder of {table.name}, and stay inside it",
        )


def _media_digest(table: Table, column: str, row: int, cell: Any) -> Digest:
    path = path_in(cell)
    if path is None:
        return digest_bytes(cell)
    try:
        return table.folder.digest(path)
    except InvalidInput as error:
        raise InvalidInput(f"column {column!r} of {table.name!r} at {table.where([row])}: {error.message}") from error


def _digest(values: tuple[str, ...]) -> Digest:
    if len(values) == 1:
        return digest_bytes(values[0].encode())
    # No UTF-8 text begins with this byte, so no pair has the digest of a text.
    return digest_bytes(b"\xff" + canonical_json(values))
