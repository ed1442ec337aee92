"""Training and validation rows: seeded, stratified, and never the same sample or group on both sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from headstock.data.cells import is_empty, label_of
from headstock.data.sides import side_of
from headstock.data.slips import slips
from headstock.data.split_choice import ColumnSplit, GroupSplit, RandomSplit, TimeSplit
from headstock.data.table import Table
from headstock.data.times import times_of
from headstock.digest import Digest
from headstock.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Split:
    """Row indices of each side, in file order."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    duplicates: int
    """Rows whose input another row has too; all rows of one input stand on one side."""
    moved: int = 0
    """Rows that a split column put in validation but whose input is also a training row's: kept in training."""
    unused: int = 0
    """Rows that the run never looks at: those of a third part (`test`), and later copies of training rows."""


def split_rows(
    choice: RandomSplit | ColumnSplit | GroupSplit | TimeSplit,
    table: Table,
    samples: Sequence[Digest],
    labels: Sequence[str] | None,
) -> Split:
    """Split the rows as the recipe says; `samples` are digests of the inputs, `labels` the classes if there are any.

    Raises `InvalidInput` when a side would be empty or a class is too small to stand on both.
    """
    if len(set(samples)) == 1 and len(samples) > 1:
        raise InvalidInput(
            f"all {len(samples)} rows of {table.name!r} have the same input ({table.where(range(len(samples)))}); "
            "expected at least 2 different ones",
            fix="headstock data check, and another column for the input if this is the wrong one",
        )
    match choice:
        case ColumnSplit():
            split = _by_column(choice, table, samples)
        case GroupSplit():
            split = _by_group(choice, table, samples, labels)
        case TimeSplit():
            split = _by_time(choice, table, samples)
        case RandomSplit():
            split = _at_random(choice, table, samples, labels)
    for side, rows in (("training", split.train), ("validation", split.validation)):
        if not rows:
            raise InvalidInput(
                f"the split of {table.name!r} leaves no {side} rows out of {len(table)}",
                fix="give more rows, or change --validation",
            )
    if labels is not None:
        _require_trained(table, split, labels)
    return split


# ------------------------------------------------------------------------------------------------ at random
def _at_random(choice: RandomSplit, table: Table, samples: Sequence[Digest], labels: Sequence[str] | None) -> Split:
    copies = rows_by(samples)
    strata: dict[str, list[list[int]]] = {}
    for rows in copies.values():
        stratum = labels[rows[0]] if choice.stratified and labels is not None else ""
        strata.setdefault(stratum, []).append(rows)
    generator = np.random.Generator(np.random.PCG64(choice.seed))
    validation: list[int] = []
    for stratum in sorted(strata):
        members = strata[stratum]
        if len(members) < 2:
            raise _too_small(table, stratum, members, labels or ())
        validation += _draw(generator, members, choice.fraction)
    return _without(len(samples), validation, _duplicates(copies.values()))


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


# ------------------------------------------------------------------------------------------------ by group
def _by_group(choice: GroupSplit, table: Table, samples: Sequence[Digest], labels: Sequence[str] | None) -> Split:
    clusters = _clusters(_groups(choice.column, table), samples)
    if len(clusters) < 2:
        raise InvalidInput(
            f"column {choice.column!r} of {table.name!r} leaves one group only (groups that share a sample count as "
            "one); a split by group needs at least 2",
            fix="--group-column with a column that names more groups, or no group column",
        )
    generator = np.random.Generator(np.random.PCG64(choice.seed))
    order = [clusters[i] for i in generator.permutation(len(clusters)).tolist()]
    validation = _balanced(order, labels or [""] * len(samples), choice.fraction)
    return _without(len(samples), validation, _duplicates(rows_by(samples).values()))


def _groups(column: str, table: Table) -> list[str]:
    cells = table.column(column, "--group-column")
    empty = [row for row, cell in enumerate(cells) if is_empty(cell)]
    if empty:
        raise InvalidInput(
            f"{table.name!r} has no group in column {column!r} at {table.where(empty)}",
            fix="name the group of every row; a row of its own may have a name of its own",
        )
    return [label_of(cell) for cell in cells]


def _clusters(groups: Sequence[str], samples: Sequence[Digest]) -> list[list[int]]:
    """Rows that must stand together because they share a group or a sample, directly or through others."""
    root = list(range(len(groups)))

    def find(row: int) -> int:
        while root[row] != row:
            root[row] = root[root[row]]
            row = root[row]
        return row

    for keys in (groups, samples):
        for rows in rows_by(keys).values():
            for row in rows[1:]:
                root[find(row)] = find(rows[0])
    return list(rows_by([find(row) for row in range(len(groups))]).values())


def _balanced(clusters: Sequence[Sequence[int]], labels: Sequence[str], fraction: float) -> list[int]:
    """Rows of those clusters that bring each class nearest to its share, without taking the last rows of any class."""
    total = Counter(labels)
    taken: Counter[str] = Counter()
    chosen: list[int] = []

    def distance(counts: Counter[str]) -> float:
        return sum(abs(counts[label] / total[label] - fraction) for label in total)

    for rows in clusters:
        new = taken + Counter(labels[row] for row in rows)
        if not _takes_all(new, total) and distance(new) < distance(taken):
            taken = new
            chosen += rows
    # All of them may be far larger than the share; then the smallest that leaves something to learn from.
    smallest = sorted((rows for rows in clusters if not _takes_all(Counter(labels[r] for r in rows), total)), key=len)
    return chosen or list(smallest[0] if smallest else ())


def _takes_all(counts: Counter[str], total: Counter[str]) -> bool:
    return any(counts[label] == total[label] for label in counts)


# ------------------------------------------------------------------------------------------------ by time
def _by_time(choice: TimeSplit, table: Table, samples: Sequence[Digest]) -> Split:
    times = times_of(table, choice.column)
    wanted = max(1, round(choice.fraction * len(times)))
    # Rows of one moment stand together, on the later side.
    begins = sorted(times)[-wanted]
    train = tuple(row for row, time in enumerate(times) if time < begins)
    seen = {samples[row] for row in train}
    validation = tuple(row for row, time in enumerate(times) if time >= begins and samples[row] not in seen)
    unused = len(times) - len(train) - len(validation)
    return Split(train, validation, _duplicates(rows_by(samples).values()), unused=unused)


# ------------------------------------------------------------------------------------------------ by column
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
    copies = rows_by([samples[row] for row in (*train, *validation)])
    unused = len(samples) - len(train) - len(validation)
    return Split(tuple(train), tuple(validation), _duplicates(copies.values()), moved, unused)


def _side(table: Table, row: int, value: object) -> str:
    side = side_of(value)
    if side is not None:
        return side
    raise InvalidInput(
        f"{table.name!r} {table.where([row])}: the split column holds {str(value or '').strip().lower()!r}; "
        "expected 'train', 'validation' or 'test'"
    )


# ------------------------------------------------------------------------------------------------ shared
def rows_by(keys: Iterable[Hashable]) -> dict[Hashable, list[int]]:
    """Rows of each key, in file order."""
    rows: dict[Hashable, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    return rows


def _without(count: int, validation: Sequence[int], duplicates: int) -> Split:
    chosen = set(validation)
    train = tuple(row for row in range(count) if row not in chosen)
    return Split(train, tuple(sorted(chosen)), duplicates)


def _duplicates(copies: Iterable[Sequence[int]]) -> int:
    return sum(len(rows) for rows in copies if len(rows) > 1)


def _too_small(table: Table, stratum: str, members: Sequence[Sequence[int]], labels: Sequence[str]) -> InvalidInput:
    rows = [row for group in members for row in group]
    if not stratum:
        return InvalidInput(f"{table.name!r} has {len(members)} distinct rows; a split needs at least 2")
    meant = slips(Counter(labels)).get(stratum)
    what = "1 row" if len(rows) == 1 else f"{len(rows)} rows that all say the same"
    return InvalidInput(
        f"class {stratum!r} of {table.name!r} has {what} ({table.where(rows)}); a stratified split needs 2 "
        "different rows of every class, one to train on and one to check with",
        fix=f"write {meant!r} instead of {stratum!r}"
        if meant
        else "add rows of that class, drop it, or name the parts yourself with --split-column",
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
