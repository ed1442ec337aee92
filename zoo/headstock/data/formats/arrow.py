"""Arrow tables as columns of Python values; embedded files stay packed until they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from headstock.data.formats.reading import Rows
from headstock.errors import FailedPrecondition, InvalidInput


class Packed(Sequence[Any]):
    """A column of bytes, or of `{"bytes", "path"}` as the datasets library writes files; unpacked value by value."""

    def __init__(self, column: Any) -> None:
        """A pyarrow ChunkedArray."""
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Packed(self._column[index])
        value = self._column[index].as_py()
        return value if not isinstance(value, dict) or value.get("bytes") is None else value["bytes"]


def arrow_library(what: str) -> Any:
    """The library; raises `FailedPrecondition` saying that `what` needs it."""
    try:
        import pyarrow
    except ImportError as error:
        raise FailedPrecondition(
            f"reading {what} needs pyarrow, which is not installed", fix="pip install 'headstock[train]'"
        ) from error
    return pyarrow


def parquet(name: str, data: bytes) -> Rows:
    """A Parquet file's rows. Raises `InvalidInput`."""
    library = arrow_library("Parquet")
    from pyarrow import parquet as files

    try:
        table = files.read_table(library.BufferReader(data))
    except (library.ArrowException, OSError) as error:
        raise InvalidInput(f"{name!r} is not a readable Parquet file: {str(error)[:200]}") from error
    return rows_of(table)


def rows_of(table: Any) -> Rows:
    """Columns of a pyarrow Table; rows count from 1."""
    library = arrow_library("Arrow")
    columns: dict[str, Sequence[Any]] = {}
    for index, field in enumerate(table.schema):
        column = table.column(index)
        columns[field.name] = Packed(column) if _holds_bytes(library.types, field.type) else column.to_pylist()
    return Rows(columns, range(1, table.num_rows + 1))


def _holds_bytes(types: Any, kind: Any) -> bool:
    if types.is_struct(kind):
        return {f.name for f in kind} == {"bytes", "path"}
    return bool(types.is_binary(kind) or types.is_large_binary(kind))
