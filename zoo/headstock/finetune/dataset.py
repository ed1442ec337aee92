"""The rows of a fine-tune: inputs and labels taken from a table, checked before anything costs time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headstock.digest import Digest, digest_bytes
from headstock.errors import InvalidInput
from headstock.finetune.columns import option_of
from headstock.finetune.data import Table


@dataclass(frozen=True, slots=True)
class Dataset:
    """Inputs with their digests, and the columns that the head type asked for."""

    inputs: tuple[str, ...]
    samples: tuple[Digest, ...]
    """Digest of each input's UTF-8 bytes: what the feature cache knows a row by."""
    columns: Mapping[str, tuple[str, ...]]
    """Role to one value per row, e.g. `label`."""


def read_dataset(table: Table, columns: Mapping[str, str], input_role: str, roles: Sequence[str]) -> Dataset:
    """Take the rows out of `table`.

    `columns` maps every role to its column. Raises `InvalidInput` for empty inputs or labels and for a single
    class, naming lines.
    """
    missing = [role for role in (input_role, *roles) if role not in columns]
    if missing:
        raise InvalidInput(
            f"no column is named for the {missing[0]} of {table.name!r}", fix=f"{option_of(missing[0])} NAME"
        )
    inputs = _texts(table, columns[input_role], option_of(input_role))
    found = {role: _values(table, role, columns[role]) for role in roles}
    return Dataset(inputs, tuple(digest_bytes(text.encode()) for text in inputs), found)


def _texts(table: Table, column: str, option: str) -> tuple[str, ...]:
    values = table.column(column, option)
    empty = [row for row, value in enumerate(values) if not _text(value).strip()]
    if len(empty) == len(values):
        raise InvalidInput(
            f"column {column!r} of {table.name!r} is empty in every row; is it the right one?", fix=option
        )
    if empty:
        raise InvalidInput(
            f"{table.name!r} has no text in column {column!r} at {table.where(empty)}",
            fix="fill or delete those rows",
        )
    texts = tuple(_text(value) for value in values)
    _require_characters(table, column, texts)
    return texts


def _require_characters(table: Table, column: str, values: Sequence[str]) -> None:
    # JSON can spell half of a surrogate pair, which no encoding can store or send to a server.
    for row, text in enumerate(values):
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise InvalidInput(
                f"{table.name!r} {table.where([row])}: column {column!r} holds a lone surrogate, not a character"
            )


def _values(table: Table, role: str, column: str) -> tuple[str, ...]:
    values = tuple(_text(value).strip() for value in table.column(column, option_of(role)))
    empty = [row for row, value in enumerate(values) if not value]
    if empty:
        raise InvalidInput(
            f"{table.name!r} has no {role} in column {column!r} at {table.where(empty)}",
            fix="fill or delete those rows",
        )
    _require_characters(table, column, values)
    distinct = set(values)
    if role == "label" and len(distinct) == 1:
        raise InvalidInput(
            f"column {column!r} of {table.name!r} holds one class only, {values[0]!r}; expected at least two",
            fix=f"{option_of(role)} with another column, or add rows of another class",
        )
    return values


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else str(value)
