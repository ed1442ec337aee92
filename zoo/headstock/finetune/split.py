"""Training and validation rows: seeded, stratified, and never the same text on both sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstock.digest import Digest
from headstock.errors import InvalidInput
from headstock.finetune.data import Table
from headstock.finetune.recipe import ColumnSplit, RandomSplit

_SIDES = {
    "train": ("train", "training", "fit"),
    "validation": ("validation", "valid", "val", "dev", "eval"),
    "test": ("test", "testing", "holdout"),
}


@dataclass(frozen=True, slots=True)
class Split:
    """Row indices of each side, in file order."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    duplicates: int
    """Rows whose text another row has too; all rows of one text stand on one side."""
    moved: int = 0
    """Rows that a split column put in validation but whose text is also a training row's: kept in training."""
    unused: int = 0
    """Rows of a third part (`test`) that the run never looks at."""


def split_rows(
    choice: RandomSplit | ColumnSplit, table: Table, samples: Sequence[Digest], labels: Sequence[str] | None
) -> Split:
    """Split the rows as the recipe says; `samples` are digests of the inputs, `labels` the classes if there are any.

    Raises `InvalidInput` when a side would be empty or a class is too small to stand on both.
    """
    split = (
        _by_column(choice, table, samples)
        if isinstance(choice, ColumnSplit)
        else _at_random(choice, table, samples, labels)
    )
    for side, rows in (("training", split.train), ("validation", split.validation)):
        if not rows:
            raise InvalidInput(
                f"the split of {table.name!r} leaves no {side} rows out of {len(table)}",
                fix="give more rows, or change --validation",
            )
    if labels is not None:
        _require_trained(table, split, labels)
    return split


def _at_random(choice: RandomSplit, table: Table, samples: Sequence[Digest], labels: Sequence[str] | None) -> Split:
    groups: dict[Digest, list[int]] = {}
    for row, sample in enumerate(samples):
        groups.setdefault(sample, []).append(row)
    strata: dict[str, list[list[int]]] = {}
    for rows in groups.values():
        stratum = labels[rows[0]] if choice.stratified and labels is not None else ""
        strata.setdefault(stratum, []).append(rows)
    generator = np.random.Generator(np.random.PCG64(choice.seed))
    validation: list[int] = []
    for stratum in sorted(strata):
        members = strata[stratum]
        if len(members) < 2:
            raise _too_small(table, stratum, members)
        validation += _draw(generator, members, choice.fraction)
    chosen = set(validation)
    train = tuple(row for row in range(len(samples)) if row not in chosen)
    return Split(train, tuple(sorted(chosen)), _duplicates(groups))


def _draw(generator: np.random.Generator, members: Sequence[Sequence[int]], fraction: float) -> list[int]:
    """Whole groups of rows, about `fraction` of all rows, at least one group and never all of them."""
    wanted = max(1, round(fraction * sum(map(len, members))))
    drawn: list[int] = []
    for index in generator.permutation(len(members))[:-1]:
        if drawn and len(drawn) + len(members[index]) > wanted:
            continue
        drawn += members[index]
        if len(drawn) >= wanted:
            break
    return drawn


def _by_column(choice: ColumnSplit, table: Table, samples: Sequence[Digest]) -> Split:
    sides = [_side(table, row, value) for row, value in enumerate(table.column(choice.column, "--split-column"))]
    # Without a validation part the test part is what there is to validate on.
    held_out = "validation" if "validation" in sides else "test"
    seen = {sample for sample, side in zip(samples, sides, strict=True) if side == "train"}
    train, validation, moved = [], [], 0
    for row, (sample, side) in enumerate(zip(samples, sides, strict=True)):
        if side == "train":
            train.append(row)
        elif side == held_out and sample in seen:
            train.append(row)
            moved += 1
        elif side == held_out:
            validation.append(row)
    groups: dict[Digest, list[int]] = {}
    for row in (*train, *validation):
        groups.setdefault(samples[row], []).append(row)
    unused = len(samples) - len(train) - len(validation)
    return Split(tuple(train), tuple(validation), _duplicates(groups), moved, unused)


def _side(table: Table, row: int, value: object) -> str:
    text = str(value or "").strip().lower()
    for side, words in _SIDES.items():
        if text in words:
            return side
    raise InvalidInput(
        f"{table.name!r} {table.where([row])}: the split column holds {text!r}; "
        "expected 'train', 'validation' or 'test'"
    )


def _duplicates(groups: dict[Digest, list[int]]) -> int:
    return sum(len(rows) for rows in groups.values() if len(rows) > 1)


def _too_small(table: Table, stratum: str, members: Sequence[Sequence[int]]) -> InvalidInput:
    rows = [row for group in members for row in group]
    if not stratum:
        return InvalidInput(f"{table.name!r} has {len(members)} distinct rows; a split needs at least 2")
    what = "1 row" if len(rows) == 1 else f"{len(rows)} rows that all say the same"
    return InvalidInput(
        f"class {stratum!r} of {table.name!r} has {what} ({table.where(rows)}); a stratified split needs 2 "
        "different rows of every class, one to train on and one to check with",
        fix="add rows of that class, drop it, or name the parts yourself with --split-column",
    )


def _require_trained(table: Table, split: Split, labels: Sequence[str]) -> None:
    trained = Counter(labels[row] for row in split.train)
    strange = [row for row in split.validation if labels[row] not in trained]
    if strange:
        raise InvalidInput(
            f"class {labels[strange[0]]!r} of {table.name!r} stands only in the validation part "
            f"({table.where(strange)}); a head cannot learn a class that it never sees",
            fix="move rows of that class to the training part",
        )
