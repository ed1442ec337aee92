"""Splits: seeded, stratified, and never one text on both sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstock.data import Table
from headstock.data.split import Split, split_rows
from headstock.data.split_choice import ColumnSplit, GroupSplit, RandomSplit, TimeSplit
from headstock.digest import Digest, digest_bytes
from headstock.errors import InvalidInput


def table_of(texts: Sequence[str], **columns: Sequence[str]) -> Table:
    return Table("d.csv", Digest("sha256:"), {"text": texts, **columns}, list(range(2, len(texts) + 2)), "line")


def split(
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    fraction: float = 0.25,
    seed: int = 0,
    stratified: bool = True,
) -> Split:
    choice = RandomSplit(kind="random", fraction=fraction, stratified=stratified, seed=seed)
    return split_rows(choice, table_of(texts, label=labels), [digest_bytes(t.encode()) for t in texts], labels)


def by_column(texts: Sequence[str], parts: Sequence[str], labels: Sequence[str] | None = None) -> Split:
    samples = [digest_bytes(t.encode()) for t in texts]
    return split_rows(ColumnSplit(kind="column", column="part"), table_of(texts, part=parts), samples, labels)


@given(
    texts=st.lists(st.sampled_from([f"text {i}" for i in range(12)]), min_size=2, max_size=60),
    seed=st.integers(0, 1000),
    fraction=st.floats(0.05, 0.9),
)
@settings(max_examples=60, deadline=None)
def test_every_row_is_on_one_side_and_equal_texts_on_the_same(texts: list[str], seed: int, fraction: float) -> None:
    if len(set(texts)) < 2:
        with pytest.raises(InvalidInput, match="same input"):
            split(texts, ["a"] * len(texts), fraction=fraction, seed=seed, stratified=False)
        return
    parts = split(texts, ["a"] * len(texts), fraction=fraction, seed=seed, stratified=False)
    assert sorted(parts.train + parts.validation) == list(range(len(texts)))
    assert {texts[r] for r in parts.train}.isdisjoint(texts[r] for r in parts.validation)


def test_the_same_seed_splits_alike_and_another_does_not() -> None:
    texts, labels = [f"t{i}" for i in range(80)], ["a", "b"] * 40
    assert split(texts, labels, seed=1) == split(texts, labels, seed=1)
    assert split(texts, labels, seed=1) != split(texts, labels, seed=2)


def test_a_stratified_split_takes_the_share_from_every_class() -> None:
    labels = ["rare"] * 4 + ["common"] * 40
    parts = split([f"t{i}" for i in range(44)], labels)
    assert Counter(labels[r] for r in parts.validation) == {"rare": 1, "common": 10}


def test_a_class_of_two_rows_stands_on_both_sides() -> None:
    labels = ["two", "two"] + ["many"] * 8
    parts = split([f"t{i}" for i in range(10)], labels, fraction=0.1)
    assert Counter(labels[r] for r in parts.validation)["two"] == 1


@pytest.mark.parametrize("texts", [["t0", "t1", "t2"], ["t0", "t1", "same", "same"]])
def test_a_class_without_two_different_rows_is_named_with_its_lines(texts: list[str]) -> None:
    labels = ["a", "a"] + ["single"] * (len(texts) - 2)
    with pytest.raises(InvalidInput, match=r"class 'single'.*line.* 4") as caught:
        split(texts, labels)
    assert "--split-column" in str(caught.value.fix)


def test_duplicates_are_counted() -> None:
    assert split(["x", "x", "y", "z", "z", "z"], ["a"] * 6, stratified=False).duplicates == 5


def test_a_split_column_is_obeyed() -> None:
    parts = by_column(list("abcdef"), ["train", "Train", "validation", "VAL", "train", "test"])
    assert parts.train == (0, 1, 4)
    assert parts.validation == (2, 3)
    assert parts.unused == 1


def test_without_a_validation_part_the_test_part_validates() -> None:
    parts = by_column(list("abc"), ["train", "train", "test"])
    assert parts.validation == (2,)
    assert parts.unused == 0


def test_a_validation_row_that_is_also_trained_on_validates_nothing() -> None:
    parts = by_column(["x", "y", "x", "z"], ["train", "train", "dev", "dev"])
    assert parts.moved == 1
    assert parts.train == (0, 1, 2)
    assert parts.validation == (3,)


@pytest.mark.parametrize(
    "parts, said",
    [
        (["train", "train", "sideways"], "line 4.*'sideways'"),
        (["train", "train", ""], "line 4"),
        (["train", "train", "train"], "no validation rows"),
        (["dev", "dev", "dev"], "no training rows"),
    ],
)
def test_a_split_column_that_cannot_be_used_says_why(parts: list[str], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        by_column(list("abc"), parts)


def test_a_class_that_only_validates_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"class 'new'.*line 4"):
        by_column(list("abc"), ["train", "train", "val"], ["a", "b", "new"])


# ------------------------------------------------------------------------------------------------ groups and times
def by_group(
    texts: Sequence[str], groups: Sequence[str], labels: Sequence[str] | None = None, fraction: float = 0.25
) -> Split:
    samples = [digest_bytes(t.encode()) for t in texts]
    choice = GroupSplit(kind="group", column="who", fraction=fraction, seed=3)
    return split_rows(choice, table_of(texts, who=groups), samples, labels)


def by_time(texts: Sequence[str], times: Sequence[object], fraction: float = 0.25) -> Split:
    samples = [digest_bytes(t.encode()) for t in texts]
    table = Table("d.csv", Digest("sha256:"), {"text": texts, "day": times}, list(range(2, len(texts) + 2)), "line")
    return split_rows(TimeSplit(kind="time", column="day", fraction=fraction), table, samples, None)


@given(
    groups=st.lists(st.sampled_from("abcdefgh"), min_size=8, max_size=60),
    words=st.lists(st.integers(0, 30), min_size=60, max_size=60),
)
@settings(max_examples=60, deadline=None)
def test_groups_and_copies_never_stand_on_both_sides(groups: list[str], words: list[int]) -> None:
    texts = [f"text {word}" for word in words[: len(groups)]]
    # Enough groups and words that not all of them hang together.
    texts += [f"alone {i}" for i in range(4)]
    groups = groups + [f"of {i}" for i in range(4)]
    parts = by_group(texts, groups)
    assert sorted(parts.train + parts.validation) == list(range(len(groups)))
    for keys in (texts, groups):
        assert {keys[r] for r in parts.train}.isdisjoint(keys[r] for r in parts.validation)


def test_a_split_by_group_takes_about_the_share_of_every_class() -> None:
    groups = [f"g{i // 4}" for i in range(160)]
    labels = ["a" if i // 4 % 2 else "b" for i in range(160)]
    parts = by_group([f"t{i}" for i in range(160)], groups, labels)
    assert Counter(labels[r] for r in parts.validation) == {"a": 20, "b": 20}


def test_groups_far_larger_than_the_share_still_give_one_to_validate() -> None:
    assert len(by_group(list("abcdef"), ["x", "x", "x", "x", "y", "y"], fraction=0.05).validation) == 2


def test_a_row_without_a_group_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"no group in column 'who' at line 3"):
        by_group(list("abc"), ["x", "", "y"])


@pytest.mark.parametrize(
    "times",
    [
        ["2026-01-04", "2026-01-01", "2026-01-03", "2026-01-02"],
        ["2026-01-01T04:00:00Z", "2026-01-01T01:00:00", "2026-01-01T04:00:00+01:00", "2026-01-01T02:00:00"],
        [4, 1, 3.5, 2],
        ["4", "1", "3", "2"],
    ],
)
def test_the_latest_rows_validate(times: list[object]) -> None:
    parts = by_time(list("abcd"), times)
    assert (parts.train, parts.validation) == ((1, 2, 3), (0,))


def test_rows_of_one_moment_stand_together_and_later_copies_validate_nothing() -> None:
    parts = by_time(["a", "b", "c", "a", "d", "e"], [1, 2, 3, 4, 4, 4], fraction=0.2)
    assert parts.train == (0, 1, 2)
    assert parts.validation == (4, 5)
    assert parts.unused == 1


def test_a_row_without_a_moment_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"no moment in column 'day' at line 3, e\.g\. 'soon'"):
        by_time(list("abc"), ["2026-01-01", "soon", "2026-01-03"])
