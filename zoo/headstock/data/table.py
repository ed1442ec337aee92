"""A table: the rows of a data set by column, with where every row came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from headstock.data.files import Folder
from headstock.data.formats.reading import Fault
from headstock.digest import Digest
from headstock.errors import InvalidInput

Unit = Literal["line", "row", "file"]


@dataclass(frozen=True, slots=True)
class Table:
    """A data set's rows by column, with where each row stands."""

    name: str
    """Name of the file or folder, without what lies above it."""
    sha256: Digest
    """Digest of the file's bytes; for a folder, of its files' paths and digests."""
    columns: Mapping[str, Sequence[Any]]
    """Column name to one value per row; None where the file has none."""
    places: Sequence[int | str]
    """Where each row begins: a number counted from 1, or a file's path within the folder."""
    unit: Unit
    """What `places` names: lines of a text file, rows of a binary one, or files of a folder."""
    folder: Folder = field(default_factory=lambda: Folder(Path()))
    """What paths in a column are relative to, and must not leave."""
    complete: bool = False
    """True if `sha256` covers the files that the columns name."""
    split_column: str | None = None
    """Column that the layout itself provides, e.g. from folders `train` and `validation`."""
    faults: Sequence[Fault] = ()
    """Lines of the file that make no row, where they are tolerated."""
    notes: tuple[str, ...] = ()
    """What reading left out, in words."""

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

    def only(self, rows: Sequence[int]) -> Table:
        """The table with these rows, in this order; its digest stays that of the whole."""
        columns = {name: [values[row] for row in rows] for name, values in self.columns.items()}
        return replace(self, columns=columns, places=[self.places[row] for row in rows])

    def where(self, rows: Sequence[int]) -> str:
        """`line 3`, `lines 3, 9, 12 and 4 more` or `file 'cat/1.png'`, for messages."""
        shown = ", ".join(repr(self.places[r]) if self.unit == "file" else str(self.places[r]) for r in rows[:5])
        more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
        return f"{self.unit}{'s' if len(rows) > 1 else ''} {shown}{more}"
