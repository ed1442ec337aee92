"""Cells that cannot be used, found in every row rather than in the first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from headstock.data.cells import is_empty, lone_surrogate, number_of, text_of
from headstock.data.columns import ROW
from headstock.data.files import MEDIA
from headstock.data.inputs import path_in
from headstock.data.table import Table
from headstock.hookspecs import HeadType

Faults = dict[int, str]
"""Row to what is wrong with it; the first thing found."""


def cell_faults(table: Table, columns: Mapping[str, str], inputs: Sequence[str], head_type: HeadType) -> Faults:
    """Rows whose input or target is missing or of the wrong kind."""
    faults: Faults = {}
    for role in (*inputs, *head_type.columns):
        if role == ROW:
            continue
        optional = role in head_type.optional
        for row, cell in enumerate(table.columns[columns[role]]):
            why = _media_fault(table, cell) if role in MEDIA else _fault(role, cell, optional)
            if why:
                faults.setdefault(row, why)
    if "spans" in head_type.columns:
        _note(faults, _span_faults(table, columns))
    if "answer" in head_type.columns:
        _note(faults, _answer_faults(table, columns))
    return faults


def _note(faults: Faults, found: Iterator[tuple[int, str]]) -> None:
    for row, why in found:
        faults.setdefault(row, why)


def _media_fault(table: Table, cell: Any) -> str | None:
    path = path_in(cell)
    if path is None:
        return None if isinstance(cell, bytes) and cell else "there is no file"
    fault = table.folder.fault(path)
    return f"the file {fault}" if fault else None


def _fault(role: str, cell: Any, optional: bool) -> str | None:
    if is_empty(cell):
        return None if optional else f"the {role} is empty"
    if role == "target" and not math.isfinite(number_of(cell)):
        return f"the target is no number: {text_of(cell)[:40]!r}"
    if isinstance(cell, str) and lone_surrogate(cell):
        return f"the {role} holds a lone surrogate, which is no character"
    return None


def _span_faults(table: Table, columns: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    from headstock.errors import InvalidInput
    from headstock.heads.marks import read_marks, spans_in

    texts, cells = table.columns[columns["text"]], table.columns[columns["spans"]]
    for row, (text, cell) in enumerate(zip(texts, cells, strict=True)):
        try:
            spans_in(read_marks(cell, row + 1), text_of(text), row + 1)
        except InvalidInput as error:
            # Its rows count from 1; the place in the file is told beside it.
            yield row, error.message.removeprefix(f"row {row + 1} ")


def _answer_faults(table: Table, columns: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """Answers that do not stand where they are said to."""
    contexts, answers = table.columns[columns["context"]], table.columns[columns["answer"]]
    starts = table.columns.get("answer_start", [None] * len(answers))
    for row, (context, answer, start) in enumerate(zip(contexts, answers, starts, strict=True)):
        if isinstance(answer, dict):
            pairs = list(zip(answer.get("text") or [], answer.get("answer_start") or [], strict=False))
        else:
            pairs = [] if is_empty(answer) else [(text_of(answer), start)]
        for text, place in pairs:
            if text not in text_of(context):
                yield row, f"the answer {text[:40]!r} does not stand in the context"
            elif not is_empty(place) and not text_of(context).startswith(text, int(number_of(place) or 0)):
                yield row, f"the answer {text[:40]!r} does not begin at character {place}"
