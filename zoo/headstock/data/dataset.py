"""The rows of a fine-tune: inputs and targets taken from a table, checked before anything costs time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headstock.data.cells import is_empty, json_text, label_of, lone_surrogate, number_of, text_of
from headstock.data.columns import ROW, option_of
from headstock.data.files import MEDIA
from headstock.data.inputs import Media, RawInputs, Texts, path_in
from headstock.data.table import Table
from headstock.digest import Digest, digest_json
from headstock.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Dataset:
    """Inputs, and the columns that the head type asked for."""

    inputs: RawInputs
    columns: Mapping[str, tuple[Any, ...]]
    """Role to one value per row, e.g. `label`: labels as `str`, everything else as it was read."""
    classes: tuple[str, ...] | None
    """The class of every row, for heads that learn a class from its own rows; None for all others."""

    @property
    def samples(self) -> tuple[Digest, ...]:
        """Digest of each row's input."""
        return self.inputs.samples


def read_dataset(
    table: Table,
    columns: Mapping[str, str],
    inputs: Sequence[str],
    roles: Sequence[str],
    optional: Sequence[str] = (),
    unused: Sequence[str] = (),
    *,
    known: bool = False,
) -> Dataset:
    """Take the rows out of `table`.

    `inputs` are the roles that go into the backbone, `roles` those that train the head; `columns` maps them to
    columns. Cells of `optional` roles may be empty. `unused` columns are no part of a `row`. Where the classes are
    `known` from elsewhere, the rows may be all of one. Raises `InvalidInput` for
    cells that cannot be used, for a single row and for a single class, naming lines or files.
    """
    if len(table) < 2:
        raise InvalidInput(
            f"{table.name!r} has one row only ({table.where([0])}); a fine-tune needs at least one row to train on and "
            "another to check with",
            fix="add rows: about 8 of every class are a beginning",
        )
    missing = [role for role in (*inputs, *roles) if role not in columns and role != ROW]
    if missing:
        raise InvalidInput(
            f"no column is named for the {missing[0]} of {table.name!r}", fix=f"{option_of(missing[0])} NAME"
        )
    found = {role: _values(table, role, columns[role], role in optional) for role in roles}
    classes = found.get("label") if "label" not in optional else None
    if classes is not None and len(set(classes)) == 1 and not known:
        raise InvalidInput(
            f"column {columns['label']!r} of {table.name!r} holds one class only, {classes[0]!r}; "
            "expected at least two",
            fix=f"{option_of('label')} with another column, or add rows of another class",
        )
    return Dataset(read_inputs(table, columns, inputs, unused), found, classes)


def read_inputs(
    table: Table, columns: Mapping[str, str], inputs: Sequence[str], unused: Sequence[str] = ()
) -> RawInputs:
    """What goes into the backbone; see `read_dataset`."""
    if inputs[0] in MEDIA:
        column = columns[inputs[0]]
        return Media(table, column, table.column(column, option_of(inputs[0])))
    if inputs[0] == ROW:
        return Texts(table, [_json_rows(table, {*columns.values(), *unused})])
    return Texts(table, [_texts(table, role, columns[role]) for role in inputs])


def data_digest(table: Table, columns: Mapping[str, str]) -> Digest:
    """Digest of all that decides the rows: the table, and the files that its image or audio column names."""
    if table.complete:
        return table.sha256
    paths: set[str] = set()
    for role in MEDIA:
        if role in columns:
            cells = table.column(columns[role], option_of(role))
            named = {path for cell in cells if (path := path_in(cell)) is not None}
            if named:
                # Tells every row whose file is missing, not only the first; hashes are kept.
                Media(table, columns[role], cells)
            paths |= named
    return digest_json({"table": table.sha256, "files": table.folder.manifest(paths)}) if paths else table.sha256


def _texts(table: Table, role: str, column: str) -> tuple[str, ...]:
    texts = tuple(text_of(value) for value in table.column(column, option_of(role)))
    empty = [row for row, text in enumerate(texts) if not text.strip()]
    if len(empty) == len(texts):
        raise InvalidInput(
            f"column {column!r} of {table.name!r} is empty in every row; is it the right one?", fix=option_of(role)
        )
    _require_filled(table, role, column, empty)
    _require_characters(table, column, texts)
    return texts


def _json_rows(table: Table, excluded: set[str]) -> tuple[str, ...]:
    names = [name for name in table.columns if name not in excluded]
    if not names:
        raise InvalidInput(f"{table.name!r} has no columns left to predict from; all of them play other roles")
    return tuple(json_text({name: table.columns[name][row] for name in names}) for row in range(len(table)))


def _values(table: Table, role: str, column: str, may_be_empty: bool) -> tuple[Any, ...]:
    cells = table.column(column, option_of(role))
    if not may_be_empty:
        _require_filled(table, role, column, [row for row, cell in enumerate(cells) if is_empty(cell)])
    if role == "label":
        labels = tuple(label_of(cell) for cell in cells)
        _require_characters(table, column, labels)
        return labels
    if role == "target":
        _require_numbers(table, column, cells)
    if role == "answer" and column != _ANSWER_START and _ANSWER_START in table.columns:
        return tuple(_squad(cell, start) for cell, start in zip(cells, table.columns[_ANSWER_START], strict=True))
    return tuple(cells)


_ANSWER_START = "answer_start"


def _squad(answer: Any, start: Any) -> Any:
    """An answer with its place, as SQuAD writes it, from two columns of their own."""
    if not isinstance(answer, str) or is_empty(answer) or is_empty(start) or not number_of(start) >= 0:
        return answer
    return {"text": [answer], "answer_start": [int(number_of(start))]}


def _require_filled(table: Table, role: str, column: str, empty: Sequence[int]) -> None:
    if empty:
        raise InvalidInput(
            f"{table.name!r} has no {role} in column {column!r} at {table.where(empty)}",
            fix="fill or delete those rows",
        )


def _require_numbers(table: Table, column: str, cells: Sequence[Any]) -> None:
    wrong = [row for row, cell in enumerate(cells) if not math.isfinite(number_of(cell))]
    if wrong:
        raise InvalidInput(
            f"{table.name!r} has no number in column {column!r} at {table.where(wrong)}, e.g. {cells[wrong[0]]!r}",
            fix="write numbers with a decimal point and without units, or delete those rows",
        )


def _require_characters(table: Table, column: str, values: Sequence[str]) -> None:
    for row, text in enumerate(values):
        if lone_surrogate(text):
            raise InvalidInput(
                f"{table.name!r} {table.where([row])}: column {column!r} holds a lone surrogate, not a character"
            )
