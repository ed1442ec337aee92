"""The rows that a ranking looks at: distinct training rows, drawn evenly when there are many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstock.data.columns import choose_columns
from headstock.data.dataset import read_dataset, read_inputs
from headstock.data.inputs import RawInputs
from headstock.data.roles import input_roles, roles_of
from headstock.data.split import split_rows
from headstock.data.table import Table
from headstock.errors import InvalidInput, Unsupported
from headstock.finetune.plan import Options, choose_split, split_columns
from headstock.hookspecs import HeadType

LEAST = 8
"""Rows below which an order would be an accident."""
_FEW = 16


@dataclass(frozen=True, slots=True)
class Rows:
    """Inputs and targets of the rows that are looked at."""

    inputs: RawInputs
    few: RawInputs
    """The first of them, to take the time with."""
    classes: npt.NDArray[np.int64] | None
    """[n] class numbers without gaps; None for a regression."""
    numbers: npt.NDArray[np.float64] | None
    """[n] targets; None for classes."""
    columns: Mapping[str, str]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.inputs)


def choose_rows(table: Table, head_type: HeadType, options: Options, most: int) -> Rows:
    """At most `most` training rows of `table`, each input once.

    The split is that of a fine-tune with the same options, so that the rows which will validate it decide nothing
    here. Raises `Unsupported` for a head type without one class or number per row, and `InvalidInput` for data that
    cannot train it, for fewer than `LEAST` rows and for a single class.
    """
    is_classes = "label" in head_type.columns and "label" not in head_type.optional
    if head_type.per_position or head_type.reads != "any" or not (is_classes or head_type.task == "regression"):
        raise Unsupported(
            f"head type {head_type.name!r} has no one class or number per row, and ranking compares backbones by that",
            fix="rank with the classification or regression head of the same modality",
        )
    taken = list(split_columns(options).values()) or [c for c in (table.split_column,) if c]
    columns = choose_columns(table, roles_of(head_type), options.columns, taken)
    everything = read_dataset(table, columns, input_roles(head_type), head_type.columns, head_type.optional, taken)
    targets = head_type.encode(everything.columns)
    split = split_rows(choose_split(table, head_type, options), table, everything.samples, everything.classes)
    rows, notes = _drawn(everything.samples, split.train, most, options.seed)
    values = targets.values[rows]
    if is_classes:
        # One row of a class cannot be both asked about and learned from.
        alone = np.bincount(values)[values] < 2
        if alone.any():
            notes.append(f"{int(alone.sum())} rows are the only one of their class and were left out")
        rows, values = [row for row, one in zip(rows, alone, strict=True) if not one], values[~alone]
    _require_enough(table, rows, values, is_classes)
    inputs, few = (
        read_inputs(table.only(part), columns, input_roles(head_type), taken) for part in (rows, rows[:_FEW])
    )
    classes = np.unique(values, return_inverse=True)[1].astype(np.int64) if is_classes else None
    return Rows(inputs, few, classes, None if is_classes else values.astype(np.float64), columns, tuple(notes))


def _drawn(samples: tuple[str, ...], train: tuple[int, ...], most: int, seed: int) -> tuple[list[int], list[str]]:
    # A copy would be its own nearest neighbour.
    first: dict[str, int] = {}
    for row in train:
        first.setdefault(samples[row], row)
    rows, notes = list(first.values()), []
    if len(rows) < len(train):
        notes.append(f"{len(train) - len(rows)} training rows repeat another row's input and count once")
    if len(rows) > most:
        notes.append(f"{most} of {len(rows)} training rows were drawn")
        rows = sorted(np.random.default_rng(seed).permutation(rows)[:most].tolist())
    return rows, notes


def _require_enough(table: Table, rows: list[int], values: npt.NDArray[np.generic], is_classes: bool) -> None:
    if len(rows) < LEAST:
        raise InvalidInput(
            f"{table.name!r} leaves {len(rows)} distinct training rows to rank by; expected at least {LEAST}",
            fix="add rows" if not is_classes else "add rows, at least two of each class",
        )
    if len(np.unique(values)) < 2:
        what = "one class" if is_classes else "one value"
        raise InvalidInput(f"the training rows of {table.name!r} hold {what} only", fix="add rows that differ")
