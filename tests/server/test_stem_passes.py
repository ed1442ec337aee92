"""A pass on a stem: the stem once for all rows, then each backbone's upper part for its own, each failing alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstock.errors import HeadstockError
from headstock.preprocess import Row
from headstock_server.scheduler import Budget, LaneKey, SchedulerOptions, Ticket
from headstock_server.scheduler.contract import Array, Floats, Slots
from headstock_server.scheduler.device import Device
from headstock_server.scheduler.execution import Executed, execute
from headstock_server.scheduler.lane import Pass

POISON = -1


@dataclass(eq=False)
class Stem:
    """Squares numbers; throws for `POISON`."""

    passes: list[list[int]] = field(default_factory=list)

    def run(self, numbers: Array) -> Array:
        self.passes.append(numbers.tolist())
        if (numbers == POISON).any():
            raise ValueError("poison")
        return numbers**2


@dataclass(eq=False)
class Upper:
    """Adds its own number to what the stem made; a number that it does not like makes it throw."""

    stem_part: Stem
    adds: int
    hates: int | None = None
    lane: LaneKey = field(default_factory=lambda: LaneKey("sha256:stem", "fp32", "cpu", depth="layer.1"))
    budget: Budget = field(default_factory=lambda: Budget(128))
    token_ns: float = 1000.0
    measured: tuple[tuple[int, int, float], ...] = ()
    passes: list[list[int]] = field(default_factory=list)

    def collate(self, rows: Sequence[Row]) -> Mapping[str, Array]:
        return {"x": np.array([row.tensors["x"] for row in rows])}

    def stem(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        return {**feeds, "squares": self.stem_part.run(feeds["x"])}

    def infer(self, feeds: Mapping[str, Array], taps: Sequence[str]) -> Mapping[str, Floats]:
        self.passes.append(feeds["x"].tolist())
        if (feeds["x"] == self.hates).any():
            raise ValueError("hated")
        return dict.fromkeys(taps, (feeds["squares"] + self.adds)[:, None].astype(np.float32))

    def positions(self, tap: str, rows: Sequence[Row]) -> Sequence[int] | None:
        return None


@dataclass(eq=False)
class Same:
    tap: str = "x"

    def run(self, features: Floats, slots: Slots) -> Floats:
        return features * slots[:, None].astype(np.float32)

    def run_alone(self, features: Floats, slot: int) -> Floats:
        return features * np.float32(slot)


@dataclass(eq=False)
class Model:
    name: str
    backbone: Upper
    group: Same = field(default_factory=Same)
    slot: int = 1
    number: int = 1


def run(*asked: tuple[Model, int]) -> Executed:
    tickets = [Ticket(model, [Row({"x": np.array(number)}, 4)]) for model, number in asked]
    rows = [ticket.rows[0] for ticket in tickets]
    backbone = asked[0][0].backbone
    return execute(Pass(backbone.lane, backbone, tickets, [0] * len(rows), rows))


def numbers(executed: Executed) -> list[float | None]:
    return [None if isinstance(v, HeadstockError) else float(v[0, 0]) for v in executed.values]  # type: ignore[index]


def test_the_stem_runs_once_for_all_and_each_upper_part_for_its_own_rows() -> None:
    stem = Stem()
    one, two = Model("one", Upper(stem, 100)), Model("two", Upper(stem, 200))
    executed = run((one, 2), (two, 3), (one, 4), (two, 5))
    assert numbers(executed) == [104, 209, 116, 225]
    assert stem.passes == [[2, 3, 4, 5]]
    assert (one.backbone.passes, two.backbone.passes) == ([[2, 4]], [[3, 5]])


def test_equal_rows_meet_the_stem_once_and_each_upper_part_once() -> None:
    stem = Stem()
    one, two = Model("one", Upper(stem, 100)), Model("two", Upper(stem, 200))
    twice = Model("twice", one.backbone, one.group, slot=2)
    executed = run((two, 3), (one, 2), (two, 2), (twice, 2), (one, 2), (two, 3))
    assert numbers(executed) == [209, 104, 204, 208, 104, 209]
    assert stem.passes == [[3, 2]]
    assert (one.backbone.passes, two.backbone.passes) == ([[2]], [[3, 2]])
    assert (executed.reused, executed.real_tokens) == (4, 8)


def test_an_upper_part_that_throws_fails_its_own_rows_alone() -> None:
    stem = Stem()
    good, bad = Model("good", Upper(stem, 100)), Model("bad", Upper(stem, 200, hates=3))
    executed = run((good, 3), (bad, 3), (bad, 4), (good, 5))
    assert numbers(executed) == [109, None, 216, 125]
    assert executed.reran
    error = executed.values[1]
    assert isinstance(error, HeadstockError)
    assert "bad:1: the backbone failed" in error.message


@pytest.mark.parametrize("first", [0, 1])
def test_a_pass_is_no_larger_than_what_every_backbone_of_the_stem_can_bear(first: int) -> None:
    """Whoever came first: how many rows may share a pass was measured for each of them alone."""
    stem = Stem()
    models = [Model("far", Upper(stem, 100)), Model("near", Upper(stem, 200, budget=Budget(128, rows=2)))]
    device = Device(threading.Lock(), SchedulerOptions())
    order = [models[first], *models, *models]
    tickets = [Ticket(model, [Row({"x": np.array(number)}, 4)]) for number, model in enumerate(order)]
    for ticket in tickets:
        device.lane(ticket.model.backbone)
    sizes = []
    arrived = tickets
    while (work := device.pick(arrived, time.monotonic_ns(), held=False).work) is not None:
        sizes.append(len(work.rows))
        arrived = []
    assert sizes == [2, 2, 1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([1, 2, 3, POISON])), min_size=1, max_size=12))
def test_every_row_is_answered_as_it_is_alone(asked: list[tuple[int, int]]) -> None:
    """Whichever backbones and poisoned rows it meets."""
    stem = Stem()
    models = [Model("a", Upper(stem, 100)), Model("b", Upper(stem, 200, hates=2)), Model("c", Upper(stem, 300))]
    together = numbers(run(*((models[i], number) for i, number in asked)))
    assert together == [numbers(run((models[i], number)))[0] for i, number in asked]
