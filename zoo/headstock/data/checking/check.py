"""The check: everything that a fine-tune would trip over, and what it would not notice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headstock.data.cells import number_of, text_of
from headstock.data.checking.cells import Faults, cell_faults
from headstock.data.checking.leaks import find_leaks
from headstock.data.checking.measure import measure
from headstock.data.checking.report import Report, distribution, several
from headstock.data.dataset import Dataset, read_dataset, read_inputs
from headstock.data.roles import input_roles
from headstock.data.slips import label_warnings
from headstock.data.split import Split, rows_by, split_rows
from headstock.data.split_choice import ColumnSplit, GroupSplit, RandomSplit, TimeSplit
from headstock.data.table import Table
from headstock.errors import InvalidInput
from headstock.hookspecs import HeadType
from headstock.preprocess import Preprocessor

_MOST = 10
"""Different faults of rows that are spelt out."""
_IMBALANCE, _FEW = 10, 5
"""From here on a class is worth a word: rows of the commonest for one of the rarest; rows of a class."""


@dataclass(frozen=True, slots=True)
class Question:
    """What the data is asked to be good for."""

    head_type: HeadType
    columns: Mapping[str, str]
    """Role to column, all of them."""
    choice: RandomSplit | ColumnSplit | GroupSplit | TimeSplit
    group_column: str | None = None
    """Looked at for leaks also where another column decides the split."""
    time_column: str | None = None
    backbone: Preprocessor | None = None
    """What would read the inputs, if it is known."""
    unused: Sequence[str] = field(default=())
    """Columns that are no part of a row."""


def check_data(table: Table, question: Question) -> Report:
    """Look at every row. Raises `InvalidInput` only for columns that do not exist."""
    head_type, columns = question.head_type, question.columns
    report = Report(table.name, head_type.name, dict(columns), rows=len(table) + len(table.faults))
    if table.faults:
        shown = "; ".join(f"{table.unit} {fault.place}: {fault.why}" for fault in table.faults[:5])
        more = f"; and {len(table.faults) - 5} more" if len(table.faults) > 5 else ""
        count = several(len(table.faults), "line makes", "lines make")
        report.add("stops", f"{count} no row: {shown}{more}", table.faults[0].fix)
    for note in table.notes:
        report.add("note", note)
    inputs = input_roles(head_type)
    table = _usable(table, cell_faults(table, columns, inputs, head_type), report)
    if len(table):
        table, contents = _measured(table, question, inputs, report)
    report.usable = len(table)
    if len(table):
        _targets(table, columns, head_type, report)
        dataset = _dataset(table, question, inputs, report)
        if dataset is not None:
            split = _split(table, question, dataset, report)
            find_leaks(table, question, dataset, split, contents, report)
    return report


def _usable(table: Table, faults: Faults, report: Report) -> Table:
    """The table without its faulty rows, which are told by what is wrong with them."""
    places = list(faults)
    grouped = [(why, [places[i] for i in found]) for why, found in rows_by(faults.values()).items()]
    for why, rows in grouped[:_MOST]:
        report.add("stops", f"{table.where(rows)}: {why}", "correct or delete those rows")
    if others := [row for _, rows in grouped[_MOST:] for row in rows]:
        report.add("stops", f"{table.where(others)}: other faults of these kinds", "correct or delete those rows")
    return table.only([row for row in range(len(table)) if row not in faults]) if faults else table


def _measured(table: Table, question: Question, inputs: Sequence[str], report: Report) -> tuple[Table, list[Any]]:
    """The table without the rows that cannot be read, and the digest of what is in each of the others."""
    raw = read_inputs(table, question.columns, inputs, question.unused)
    seen = measure(inputs, raw, question.backbone, question.head_type.reads)
    report.inputs = {name: distribution(sizes) for name, sizes in seen.sizes.items()}
    report.kinds = dict(seen.kinds.most_common())
    report.cut = seen.cut
    if seen.cut:
        report.add("note", f"{several(seen.cut, 'row is', 'rows are')} longer than the backbone reads and would be cut")
    return _usable(table, seen.faults, report), [content for content in seen.contents if content is not None]


def _targets(table: Table, columns: Mapping[str, str], head_type: HeadType, report: Report) -> None:
    """Counts of classes, or the distribution of what is no class."""
    if "target" in head_type.columns:
        report.targets["target"] = distribution(number_of(cell) for cell in table.columns[columns["target"]])
    if "transcript" in head_type.columns:
        lengths = (float(len(text_of(cell))) for cell in table.columns[columns["transcript"]])
        report.targets["characters of the transcript"] = distribution(lengths)
    if "answer" in head_type.columns:
        answers = [cell for cell in table.columns[columns["answer"]] if text_of(cell) and cell != {}]
        report.classes = {"answered": len(answers), "without answer": len(table) - len(answers)}


def _dataset(table: Table, question: Question, inputs: Sequence[str], report: Report) -> Dataset | None:
    head_type = question.head_type
    try:
        dataset = read_dataset(table, question.columns, inputs, head_type.columns, head_type.optional, question.unused)
        targets = head_type.encode(dataset.columns)
    except InvalidInput as error:
        report.add("stops", error.message, error.fix)
        return None
    if "label" in dataset.columns:
        report.classes = dict(Counter(dataset.columns["label"]).most_common())
        for warning in label_warnings(table, dataset.columns["label"], report.classes):
            report.add("note", warning)
    elif "labels" in dataset.columns and targets.values.ndim == 2:
        counts = zip(targets.labels, targets.values.sum(axis=0).tolist(), strict=True)
        report.classes = dict(sorted(counts, key=lambda item: -item[1]))
    elif "spans" in dataset.columns:
        kinds = Counter(label for marks in targets.values for label in marks.labels)
        report.classes = dict(kinds.most_common())
    if dataset.classes is not None:
        _note_classes(report)
    return dataset


def _note_classes(report: Report) -> None:
    if report.imbalance is not None and report.imbalance >= _IMBALANCE:
        report.add(
            "note",
            f"the commonest class has {report.imbalance:g} rows for each of the rarest; look at macro F1, not accuracy",
        )
    few = {name: count for name, count in report.classes.items() if count < _FEW}
    if few:
        shown = ", ".join(f"{name!r} ({count})" for name, count in list(few.items())[:5])
        report.add("note", f"{several(len(few), 'class has', 'classes have')} fewer than {_FEW} rows: {shown}")


def _split(table: Table, question: Question, dataset: Dataset, report: Report) -> Split | None:
    report.duplicates = sum(len(rows) for rows in rows_by(dataset.samples).values() if len(rows) > 1)
    try:
        split = split_rows(question.choice, table, dataset.samples, dataset.classes)
    except InvalidInput as error:
        report.add("stops", error.message, error.fix)
        return None
    report.split = {"train": len(split.train), "validation": len(split.validation), "unused": split.unused}
    return split
