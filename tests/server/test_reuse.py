"""The same input to several heads of one backbone within a pass runs once, and nobody can tell from the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstock.errors import HeadstockError, InvalidInput
from headstock.preprocess import Row
from headstock_server.scheduler import Budget, LaneKey, Ticket
from headstock_server.scheduler.contract import Array, Floats, Slots
from headstock_server.scheduler.execution import Executed, execute
from headstock_server.scheduler.lane import Pass
from headstock_server.scheduler.reuse import firsts, places

POISON = -1
NAN = -2


@dataclass(eq=False)
class Positions:
    """Gives each row [positions, 2]: its values and their squares; padding is 777 and counts for nothing."""

    lane: LaneKey = field(default_factory=lambda: LaneKey("sha256:toy", "fp32", "cpu"))
    budget: Budget = field(default_factory=lambda: Budget(128))
    token_ns: float = 1000.0
    measured: tuple[tuple[int, int, float], ...] = ()
    passes: list[int] = field(default_factory=list)
    """Rows of each pass."""

    def collate(self, rows: Sequence[Row]) -> Mapping[str, Array]:
        padded = np.full((len(rows), max(row.length for row in rows)), 777, np.int64)
        for i, row in enumerate(rows):
            padded[i, : row.length] = row.tensors["x"]
        return {"x": padded}

    def infer(self, feeds: Mapping[str, Array], taps: Sequence[str]) -> Mapping[str, Floats]:
        self.passes.append(len(feeds["x"]))
        if (feeds["x"] == POISON).any():
            raise ValueError("poison")
        block = np.stack([feeds["x"], feeds["x"] ** 2], axis=2).astype(np.float32)
        block[feeds["x"] == NAN] = np.nan
        own = np.where(feeds["x"][:, :, None] == 777, 0, block)
        return {tap: block if tap == "tokens" else own.sum(axis=1) for tap in taps}

    def positions(self, tap: str, rows: Sequence[Row]) -> Sequence[int] | None:
        return [row.length for row in rows]


@dataclass(eq=False)
class Times:
    """Head `slot` answers its number times the features."""

    tap: str

    def run(self, features: Floats, slots: Slots) -> Floats:
        return features * slots[:, None].astype(np.float32)

    def run_alone(self, features: Floats, slot: int) -> Floats:
        return features * np.float32(slot)


@dataclass(eq=False)
class Model:
    name: str
    backbone: Positions
    group: Times
    slot: int
    adapter_slot: int = 0
    number: int = 1


def row(*values: int, **more: Array) -> Row:
    return Row({"x": np.array(values, np.int64), **more}, len(values))


def run(*asked: tuple[Model, Row]) -> Executed:
    backbone = asked[0][0].backbone
    tickets = [Ticket(model, [one]) for model, one in asked]
    return execute(Pass(backbone.lane, backbone, tickets, [0] * len(asked), [one for _, one in asked]))


@pytest.fixture
def backbone() -> Positions:
    return Positions()


@pytest.fixture
def models(backbone: Positions) -> list[Model]:
    """Two heads on one tap, one on another."""
    pooled = Times("mean")
    return [Model("a", backbone, pooled, 2), Model("b", backbone, pooled, 3), Model("c", backbone, Times("tokens"), 5)]


def test_one_input_to_three_heads_is_one_row_of_the_backbone(backbone: Positions, models: list[Model]) -> None:
    executed = run(*((model, row(4, 5)) for model in models))
    assert backbone.passes == [1]
    assert (executed.reused, executed.real_tokens, executed.padded_tokens) == (2, 2, 2)
    assert np.array_equal(executed.values[0], [[18, 82]])
    assert np.array_equal(executed.values[1], [[27, 123]])
    assert np.array_equal(executed.values[2][0], [[20, 80], [25, 125]])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.lists(st.sampled_from([1, 2, POISON, NAN]), min_size=1, max_size=2)),
        min_size=1,
        max_size=12,
    )
)
def test_every_row_is_answered_as_it_is_alone(asked: list[tuple[int, list[int]]]) -> None:
    """Whatever is equal, poisoned, not finite or of another length beside it."""
    backbone = Positions()
    pooled = Times("mean")
    made = [Model("a", backbone, pooled, 2), Model("b", backbone, pooled, 3), Model("c", backbone, Times("tokens"), 5)]
    together = run(*((made[i], row(*values)) for i, values in asked)).values
    for (i, values), value in zip(asked, together, strict=True):
        alone = run((made[i], row(*values))).values[0]
        if isinstance(alone, HeadstockError):
            assert type(value) is type(alone)
            assert value.message == alone.message
        else:
            assert np.array_equal(value[0], alone[0])
            assert len(value) == 1


def test_a_poisoned_row_that_came_twice_is_rerun_once_and_fails_for_both(
    backbone: Positions, models: list[Model]
) -> None:
    executed = run((models[0], row(POISON)), (models[1], row(7)), (models[1], row(POISON)), (models[0], row(7)))
    assert backbone.passes == [2, 1, 1]
    assert executed.reran
    first, _, second, _ = executed.values
    assert isinstance(first, HeadstockError)
    assert "a:1: the backbone failed" in first.message
    assert isinstance(second, HeadstockError)
    assert "b:1: the backbone failed" in second.message
    assert [float(executed.values[i][0, 0]) for i in (1, 3)] == [21.0, 14.0]


def test_a_row_whose_features_are_not_finite_fails_for_all_who_asked_for_it(models: list[Model]) -> None:
    executed = run((models[0], row(NAN)), (models[2], row(NAN)), (models[1], row(1)))
    assert [isinstance(value, InvalidInput) for value in executed.values] == [True, True, False]


def test_rows_are_equal_only_if_every_bit_of_every_tensor_is() -> None:
    zero, minus = np.array([0.0], np.float32), np.array([-0.0], np.float32)
    rows = [row(1, 2), row(1, 2), row(2, 1), row(1, 2, mask=zero), row(1, 2, mask=minus), row(1, 2, other=zero)]
    rows += [
        Row({"x": np.array([1, 2], np.int32)}, 2),
        Row({"x": np.array([[1, 2]])}, 2),
        Row({"x": rows[0].tensors["x"]}, 3),
    ]
    assert places(rows) == [0, 0, 1, 2, 3, 4, 5, 6, 7]


def test_rows_that_differ_in_one_value_in_the_middle_of_many_are_told_apart() -> None:
    base = np.zeros(1000, np.int64)
    rows = [Row({"x": base + (np.arange(1000) == at)}, 1000) for at in (-1, 1, 500, 998, 1, -1)]
    found = places(rows)
    assert found == [0, 1, 2, 3, 1, 0]
    assert firsts(found) == [0, 1, 2, 3]


def test_rows_under_different_adapters_are_not_equal() -> None:
    rows = [row(1), row(1), row(1)]
    assert places(rows, [0, 1, 0]) == [0, 1, 0]
    assert places(rows, [0, 1, 2]) is None


def test_a_row_alone_and_rows_that_all_differ_have_no_places() -> None:
    assert places([row(1)]) is None
    assert places([row(1), row(2), row(1, 1)]) is None
