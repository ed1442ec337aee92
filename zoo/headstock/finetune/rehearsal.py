"""Replay: rows of what the parent was trained on, mixed into the new ones so that they are not forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from headstock.data.dataset import Dataset, data_digest, read_dataset
from headstock.data.inputs import RawInputs
from headstock.data.roles import input_roles
from headstock.data.split import Split, split_rows
from headstock.data.table import Table
from headstock.digest import Digest
from headstock.errors import FailedPrecondition, InvalidInput

if TYPE_CHECKING:
    from headstock.finetune.parent import Parent
    from headstock.finetune.recipe import Recipe
    from headstock.hookspecs import HeadType


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The parent's data as the parent saw it."""

    table: Table
    dataset: Dataset
    split: Split
    """The parent's own: what trained it, and what it was judged by."""
    recipe: Recipe
    """The parent's."""

    def draw(self, rows: int, seed: int) -> tuple[int, ...]:
        """That many of the parent's training rows, the same for the same seed; fewer are some of the more.

        Raises `InvalidInput` for more than there are.
        """
        if rows > len(self.split.train):
            raise InvalidInput(
                f"{rows} rows are to be replayed; {self.table.name!r} has {len(self.split.train)} training rows",
                fix=f"--replay {len(self.split.train)}",
            )
        order = np.random.Generator(np.random.PCG64(seed)).permutation(len(self.split.train))
        return tuple(sorted(self.split.train[i] for i in order[:rows].tolist()))


class Part(RawInputs):
    """Some rows of other inputs."""

    def __init__(self, whole: RawInputs, rows: Sequence[int]) -> None:
        self._whole, self._rows = whole, tuple(rows)
        self.samples = tuple(whole.samples[row] for row in rows)
        self.block = whole.block

    def read(self, rows: Sequence[int]) -> tuple[list[Any], ...]:
        """As the whole reads them."""
        return self._whole.read([self._rows[row] for row in rows])

    def name(self, row: int) -> str:
        """As the whole names it."""
        return self._whole.name(self._rows[row])


class Joined(RawInputs):
    """Inputs of two data sets, one after the other."""

    def __init__(self, first: RawInputs, second: RawInputs) -> None:
        self._first, self._second = first, second
        self.samples = (*first.samples, *second.samples)
        self.block = min(first.block, second.block)

    def read(self, rows: Sequence[int]) -> tuple[list[Any], ...]:
        """As each part reads its own."""
        if not rows:
            return self._first.read(rows)
        n = len(self._first)
        near, far = [row for row in rows if row < n], [row - n for row in rows if row >= n]
        parts = [zip(*part.read(own), strict=True) for part, own in ((self._first, near), (self._second, far))]
        found = [next(parts[row >= n]) for row in rows]
        return tuple(list(column) for column in zip(*found, strict=True))

    def name(self, row: int) -> str:
        """As the part that it is from names it."""
        n = len(self._first)
        return self._first.name(row) if row < n else f"replayed {self._second.name(row - n)}"


def open_rehearsal(parent: Parent, head_type: HeadType, table: Table) -> Rehearsal:
    """Read the parent's data. Raises `FailedPrecondition` with both digests if `table` is not that."""
    recipe, version = parent.recipe, parent.version
    if recipe is None:
        raise FailedPrecondition(
            f"{version} was not made by a fine-tune, so the catalogue does not know which rows trained it",
            fix="leave --replay and --replay-data out",
        )
    if missing := [column for column in recipe.data.columns.values() if column not in table.columns]:
        raise InvalidInput(
            f"{table.name!r} has no column {missing[0]!r}, which {version} was trained on; it has "
            f"{', '.join(map(repr, table.columns))}",
            fix=f"--replay-data with the data of {version}, {recipe.data.name!r}",
        )
    found = data_digest(table, recipe.data.columns)
    if found != recipe.data.sha256:
        raise FailedPrecondition(
            f"{table.name!r} has digest {found}; {version} was trained on {recipe.data.name!r} with digest "
            f"{recipe.data.sha256}",
            fix=f"--replay-data with the data of {version}",
        )
    unused = () if recipe.split.kind == "random" else (recipe.split.column,)
    dataset = read_dataset(
        table, recipe.data.columns, input_roles(head_type), head_type.columns, head_type.optional, unused, known=True
    )
    split = split_rows(recipe.split, table, dataset.samples, dataset.classes)
    return Rehearsal(table, dataset, split, recipe)


def joined(table: Table, dataset: Dataset, past: Rehearsal, rows: Sequence[int]) -> tuple[Table, Dataset]:
    """The new rows, then `rows` of the past; the digest stays that of the new table."""
    columns = {
        role: (*values, *(past.dataset.columns[role][r] for r in rows)) for role, values in dataset.columns.items()
    }
    classes = dataset.classes
    if classes is not None:
        classes = (*classes, *((past.dataset.classes or ())[row] for row in rows))
    inputs = Joined(dataset.inputs, Part(past.dataset.inputs, rows))
    cells = {
        name: [*values, *(past.table.columns[name][row] if name in past.table.columns else None for row in rows)]
        for name, values in table.columns.items()
    }
    places = [*table.places, *(f"{past.table.places[row]} of {past.table.name}" for row in rows)]
    return replace(table, columns=cells, places=places), Dataset(inputs, columns, classes)


def with_replayed(split: Split, samples: Sequence[Digest], new: int) -> Split:
    """The split of the `new` first rows, with the others in training, except where they would give an answer away."""
    held_out = {samples[row] for row in split.validation}
    more = tuple(row for row in range(new, len(samples)) if samples[row] not in held_out)
    return replace(split, train=(*split.train, *more), unused=split.unused + len(samples) - new - len(more))
