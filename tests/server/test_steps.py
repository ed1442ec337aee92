"""Rows that take several passes: they keep their place in line, share passes, and can be given up between two steps."""

from __future__ import annotations

import gc
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstock.errors import DeadlineExceeded, HeadstockError, Unavailable
from headstock.preprocess import Row
from headstock_server.scheduler import Budget, LaneKey, Scheduler, SchedulerOptions, Ticket
from headstock_server.scheduler.contract import Array, Floats, Slots
from headstock_server.scheduler.device import Device
from headstock_server.scheduler.simulator import Arrival, Service, Simulator, poisson

MS = 1_000_000
POISON = 13


@dataclass(eq=False)
class Counting:
    """Gives each row's number; throws for `POISON`."""

    budget: Budget = field(default_factory=lambda: Budget(128))
    lane: LaneKey = field(default_factory=lambda: LaneKey("sha256:steps", "fp32", "cpu"))
    token_ns: float = 1000.0
    measured: tuple[tuple[int, int, float], ...] = ()
    passes: list[list[int]] = field(default_factory=list)

    def collate(self, rows: Sequence[Row]) -> Mapping[str, Array]:
        return {"x": np.array([row.tensors["x"] for row in rows])}

    def infer(self, feeds: Mapping[str, Array], taps: Sequence[str]) -> Mapping[str, Floats]:
        self.passes.append(feeds["x"].tolist())
        if (feeds["x"] == POISON).any():
            raise ValueError("poison")
        return dict.fromkeys(taps, feeds["x"][:, None].astype(np.float32))

    def positions(self, tap: str, rows: Sequence[Row]) -> Sequence[int] | None:
        return None


@dataclass(eq=False)
class CountDown:
    """Answers zero, after as many steps as the row's number says; `between` is told of each step before it is taken."""

    tap: str = "x"
    between: Callable[[int], None] = lambda number: None

    def run(self, features: Floats, slots: Slots) -> Floats:
        return features

    def run_alone(self, features: Floats, slot: int) -> Floats:
        return features

    def step(self, row: Row, outputs: Floats | list[Floats], slot: int) -> Row | None:
        number = int(row.tensors["x"])
        self.between(number)
        return Row({"x": np.array(number - 1)}, row.length, extra=row.extra) if number else None


@dataclass(eq=False)
class Model:
    backbone: Counting
    group: CountDown
    name: str = "m"
    slot: int = 0
    number: int = 1


class Served:
    """A scheduler, and the tickets that it answered."""

    def __init__(self) -> None:
        self.answered: list[Ticket] = []
        self._done = threading.Semaphore(0)
        self.scheduler = Scheduler(self._deliver)

    def _deliver(self, tickets: Sequence[Ticket]) -> None:
        self.answered += tickets
        self._done.release(len(tickets))

    def submit(self, *tickets: Ticket) -> None:
        self.scheduler.hold(sum(len(ticket.rows) for ticket in tickets))
        for ticket in tickets:
            self.scheduler.submit(ticket)

    def wait(self, count: int) -> None:
        for _ in range(count):
            assert self._done.acquire(timeout=10)


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.scheduler.close()


@pytest.fixture
def model() -> Model:
    return Model(Counting(), CountDown())


def rows(*numbers: int, length: int = 16) -> list[Row]:
    return [Row({"x": np.array(number)}, length) for number in numbers]


def test_a_request_is_answered_when_the_last_step_of_its_last_row_is_done(served: Served, model: Model) -> None:
    ticket = Ticket(model, rows(2, 0, 4))
    served.submit(ticket)
    served.wait(1)
    assert model.backbone.passes == [[2, 0, 4], [1, 3], [0, 2], [1], [0]]
    assert np.array_equal(np.asarray(ticket.result), [[0], [0], [0]])
    assert ticket.timings.passes == 5
    statistics = served.scheduler.statistics()
    assert (statistics.queued_rows, statistics.queued_tokens) == (0, 0)
    assert statistics.backbones[model.backbone.lane].rows == 9
    assert statistics.backbones[model.backbone.lane].queued_rows == 0
    assert statistics.models["m", 1].requests == 1


def test_rows_at_different_steps_share_passes_with_those_that_take_one(served: Served, model: Model) -> None:
    served.submit(Ticket(model, rows(3)), Ticket(model, rows(0)), Ticket(model, rows(1)))
    served.wait(3)
    assert model.backbone.passes == [[3, 0, 1], [2, 0], [1], [0]]


def test_a_row_keeps_its_place_in_line_from_step_to_step(served: Served, model: Model) -> None:
    """Where one row runs at a time, who came first is done first."""
    model.backbone.budget = Budget(128, rows=1)
    first, second = Ticket(model, rows(3)), Ticket(model, rows(1))
    served.submit(first, second)
    served.wait(2)
    assert model.backbone.passes == [[3], [2], [1], [0], [1], [0]]
    assert served.answered == [first, second]


def test_a_caller_that_goes_between_two_steps_costs_no_further_one(served: Served, model: Model) -> None:
    gone, stays = Ticket(model, rows(9)), Ticket(model, rows(8))

    def between(number: int) -> None:
        if number == 6:
            gone.cancelled = True

    model.group.between = between
    served.submit(gone, stays)
    served.wait(1)
    assert served.answered == [stays]
    assert model.backbone.passes == [[9, 8], [8, 7], [7, 6], [5], [4], [3], [2], [1], [0]]
    assert served.scheduler.drain(10)
    assert served.scheduler.statistics().queued_rows == 0


def test_a_deadline_that_passes_between_two_steps_ends_the_request(served: Served, model: Model) -> None:
    late = Ticket(model, rows(5), deadline=time.monotonic() + 0.3)

    def between(number: int) -> None:
        while number == 3 and time.monotonic() < (late.deadline or 0.0):
            time.sleep(0.01)

    model.group.between = between
    served.submit(late)
    served.wait(1)
    assert isinstance(late.result, DeadlineExceeded)
    assert "not finished" in late.result.message
    assert model.backbone.passes == [[5], [4], [3]]
    (device,) = served.scheduler._devices.values()
    assert not device.promises


def test_a_row_that_is_poisoned_at_a_later_step_fails_its_request_alone(served: Served, model: Model) -> None:
    bad, good = Ticket(model, rows(14, 40)), Ticket(model, rows(12))
    served.submit(bad, good)
    served.wait(2)
    assert isinstance(bad.result, HeadstockError)
    assert "the backbone failed on row 0" in bad.result.message
    assert np.array_equal(np.asarray(good.result), [[0]])
    # The other row of the request that failed went no further.
    assert not any(38 in numbers for numbers in model.backbone.passes)


def test_a_head_that_throws_in_a_step_fails_the_row(served: Served, model: Model) -> None:
    def between(number: int) -> None:
        if number == 2:
            raise RuntimeError("step")

    model.group.between = between
    bad, good = Ticket(model, rows(4)), Ticket(model, rows(1))
    served.submit(bad, good)
    served.wait(2)
    assert isinstance(bad.result, HeadstockError)
    assert "next step failed" in bad.result.message
    assert np.array_equal(np.asarray(good.result), [[0]])


def test_closing_answers_rows_that_are_between_two_steps(model: Model) -> None:
    answered: list[Ticket] = []
    scheduler = Scheduler(answered.extend)
    stepped = threading.Event()

    def between(number: int) -> None:
        if number == 999_990:
            stepped.set()

    model.group.between = between
    scheduler.submit(Ticket(model, rows(1_000_000)))
    assert stepped.wait(10)
    scheduler.close()
    assert [type(ticket.result) for ticket in answered] == [Unavailable]


def test_a_lane_stays_as_long_as_one_of_its_backbones_does() -> None:
    """On a stem: the one that made it may go first, and a row between two steps comes back to where it was."""
    device = Device(threading.Lock(), SchedulerOptions())
    first, second = Counting(), Counting()
    ticket = Ticket(Model(second, CountDown()), [Row({"x": np.array(3)}, 1)])
    made = device.lane(first)
    picked = device.pick([ticket], time.monotonic_ns(), held=False)
    assert picked.work is not None
    del first, made
    gc.collect()
    device.pick([], time.monotonic_ns(), held=False)
    others = [Ticket(Model(second, CountDown()), [Row({"x": np.array(n)}, 1)]) for n in range(3)]
    device.returning.append((ticket, 0, 0))
    again = device.pick(others, time.monotonic_ns(), held=False)
    assert again.work is not None
    assert sorted(map(id, again.work.tickets)) == sorted(map(id, [ticket, *others]))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_in_simulated_traffic_every_row_takes_its_steps_and_every_request_is_answered_once(
    seed: int, runners: int
) -> None:
    """With cancels, deadlines, several rows per request and several runners; no row runs after its request ended."""
    random = np.random.default_rng(seed)
    arrivals = []
    for at in poisson(random, 40, 1.0):
        lengths = tuple(int(n) for n in random.choice([8, 16, 30], int(random.integers(1, 4))))
        deadline = at + int(random.integers(50, 2000)) * MS if random.random() < 0.3 else None
        cancel = at + int(random.integers(0, 300)) * MS if random.random() < 0.15 else None
        steps = int(random.integers(1, 7))
        arrivals.append(Arrival(at, lengths, f"m{random.integers(3)}", 0, deadline, cancel, steps=steps))
    options = SchedulerOptions(runners=runners)
    result = Simulator([Budget(128)], Service(2 * MS, 20_000), options).run(arrivals)
    ran = Counter(float(row.tensors["x"]) for p in result.passes for row in p.work.rows)
    ended = {request.ticket: request.at for request in result.requests}
    for request in result.requests:
        assert request.answers == 1
        numbers = range(request.first_row, request.first_row + len(request.arrival.lengths))
        assert all(ran[number] <= request.arrival.steps for number in numbers)
        if request.outcome == "answered":
            assert np.array_equal(np.asarray(request.ticket.result)[:, 0], np.array(numbers, np.float32))
            assert all(ran[number] == request.arrival.steps for number in numbers)
    for p in result.passes:
        assert all(ended[ticket] >= p.start for ticket in p.work.tickets)
    assert result.idle_ns == 0
