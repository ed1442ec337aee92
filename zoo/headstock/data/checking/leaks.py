"""What would make a fine-tune's figures wrong without stopping it: copies, contradictions, groups and times."""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from headstock.data.cells import label_of
from headstock.data.checking.report import Report, several
from headstock.data.dataset import Dataset
from headstock.data.split import Split, rows_by
from headstock.data.split_choice import ColumnSplit, GroupSplit
from headstock.data.table import Table
from headstock.data.times import times_of
from headstock.errors import InvalidInput

if TYPE_CHECKING:
    from headstock.data.checking.check import Question


def find_leaks(
    table: Table,
    question: Question,
    dataset: Dataset,
    split: Split | None,
    contents: Sequence[Hashable],
    report: Report,
) -> None:
    """Add to `report`; `contents` says which rows hold the same, however they are written."""
    _contradictions(table, dataset, contents, report)
    if split is None:
        return
    if split.moved:
        report.add(
            "note",
            f"{several(split.moved, 'validation row is a copy', 'validation rows are copies')} of training rows; "
            "a fine-tune trains on them instead",
        )
    _copies(table, dataset, split, contents, report)
    if question.group_column is not None and not isinstance(question.choice, GroupSplit):
        _groups(table, question.group_column, split, report)
    if question.time_column is not None and isinstance(question.choice, ColumnSplit | GroupSplit):
        _times(table, question.time_column, split, report)


def _contradictions(table: Table, dataset: Dataset, contents: Sequence[Hashable], report: Report) -> None:
    targets = [json.dumps(row, sort_keys=True, default=str) for row in zip(*dataset.columns.values(), strict=True)]
    rows = [r for rows in rows_by(contents).values() if len({targets[row] for row in rows}) > 1 for r in rows]
    if rows:
        report.add(
            "falsifies",
            f"{len(rows)} rows contradict each other: the same input, another {' or '.join(dataset.columns)}, "
            f"at {table.where(sorted(rows))}",
            "keep the right one of each",
        )


def _copies(table: Table, dataset: Dataset, split: Split, contents: Sequence[Hashable], report: Report) -> None:
    trained = {contents[row] for row in split.train}
    rows = [row for row in split.validation if contents[row] in trained]
    if rows:
        report.add(
            "falsifies",
            f"{several(len(rows), 'validation row holds', 'validation rows hold')} the same as training rows, in other "
            f"spelling or encoding: "
            f"{table.where(rows)}",
            "delete the copies, or name groups with --group-column",
        )


def _groups(table: Table, column: str, split: Split, report: Report) -> None:
    groups = [label_of(cell) for cell in table.column(column, "--group-column")]
    shared = {groups[row] for row in split.train} & {groups[row] for row in split.validation}
    if shared:
        shown = ", ".join(map(repr, sorted(shared)[:5]))
        rows = [row for row in split.validation if groups[row] in shared]
        report.add(
            "falsifies",
            f"{several(len(shared), 'group', 'groups')} of column {column!r} on both sides, e.g. {shown}: "
            f"{table.where(rows)}",
            f"fine-tune with --group-column {column} and without --split-column",
        )


def _times(table: Table, column: str, split: Split, report: Report) -> None:
    try:
        times = times_of(table, column)
    except InvalidInput as error:
        report.add("stops", error.message, error.fix)
        return
    newest = max(times[row] for row in split.train)
    rows = [row for row in split.validation if times[row] < newest]
    if rows:
        report.add(
            "falsifies",
            f"{several(len(rows), 'validation row is', 'validation rows are')} older than the newest training row by "
            f"column {column!r}: "
            f"{table.where(rows)}",
            f"fine-tune with --time-column {column} and without --split-column",
        )
