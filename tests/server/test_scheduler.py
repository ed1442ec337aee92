"""The scheduler: every request is answered once, by its own rows, together with whoever waits beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from headstock.errors import DeadlineExceeded, Exhausted, HeadstockError, InvalidInput, Unavailable
from headstock.preprocess import Row
from headstock_server.scheduler import Budget, LaneKey, Reason, Scheduler, SchedulerOptions, Ticket
from headstock_server.scheduler.company import Company
from headstock_server.scheduler.contract import Array, Floats, Slots
from headstock_server.scheduler.recorder import LaneCounters, Recorder

POISON = -1.0
NAN = -2.0
BAD_HEAD = -3.0


@dataclass(eq=False)
class FakeBackbone:
    """Answers each row's number; throws for `POISON`, gives NaN for `NAN`, and waits while `gate` is closed."""

    lane: LaneKey = field(default_factory=lambda: LaneKey("sha256:toy", "fp32", "cpu"))
    budget: Budget = field(default_factory=lambda: Budget(128))
    token_ns: float = 1000.0
    measured: Sequence[tuple[int, int, float]] = ()
    gate: threading.Event = field(default_factory=threading.Event)
    passes: list[tuple[list[float], tuple[str, ...]]] = field(default_factory=list)

    def collate(self, rows: Sequence[Row]) -> Mapping[str, Array]:
        return {"x": np.array([row.tensors["x"] for row in rows], np.float32)}

    def infer(self, feeds: Mapping[str, Array], taps: Sequence[str]) -> Mapping[str, Floats]:
        assert self.gate.wait(10)
        values = feeds["x"]
        self.passes.append((values.tolist(), tuple(sorted(taps))))
        if (values == POISON).any():
            raise ValueError("/secret/path: bad row")
        features = np.repeat(values[:, None], 2, axis=1)
        features[values == NAN] = np.nan
        return dict.fromkeys(taps, features)


@dataclass(eq=False)
class FakeGroup:
    """Head `slot` answers its number times the row's; throws for `BAD_HEAD`."""

    tap: str = "mean"
    calls: list[int] = field(default_factory=list)

    def run(self, features: Floats, slots: Slots) -> Floats:
        self.calls.append(len(features))
        if (features == BAD_HEAD).any():
            raise RuntimeError("head")
        return (features[:, :1] * slots[:, None]).astype(np.float32)


@dataclass(eq=False)
class FakeModel:
    name: str
    backbone: FakeBackbone
    group: FakeGroup
    slot: int
    number: int = 1


class Caller:
    """Collects deliveries."""

    def __init__(self) -> None:
        self.deliveries: list[list[Ticket]] = []
        self.changed = threading.Condition()

    def __call__(self, tickets: Sequence[Ticket]) -> None:
        with self.changed:
            self.deliveries.append(list(tickets))
            self.changed.notify_all()

    def wait(self, count: int) -> list[Ticket]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.tickets) >= count, 10), self.tickets
            return self.tickets

    @property
    def tickets(self) -> list[Ticket]:
        return [ticket for delivery in self.deliveries for ticket in delivery]


Make = Callable[..., Scheduler]


@pytest.fixture
def caller() -> Caller:
    return Caller()


@pytest.fixture
def make(caller: Caller) -> Iterator[Make]:
    made: list[Scheduler] = []

    def build(**options: object) -> Scheduler:
        made.append(Scheduler(caller, SchedulerOptions(**options)))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for scheduler in made:
        scheduler.close()


@pytest.fixture
def backbone() -> FakeBackbone:
    opened = FakeBackbone()
    opened.gate.set()
    return opened


@pytest.fixture
def model(backbone: FakeBackbone) -> FakeModel:
    return FakeModel("ten", backbone, FakeGroup(), slot=10)


def rows(*values: float, length: int = 16) -> list[Row]:
    return [Row({"x": np.float32(value)}, length) for value in values]


def test_a_ticket_is_answered_by_its_own_rows_in_order(make: Make, caller: Caller, model: FakeModel) -> None:
    make().submit(Ticket(model, rows(3, 1, 2)))
    (ticket,) = caller.wait(1)
    assert isinstance(ticket.result, np.ndarray)
    assert ticket.result.tolist() == [[30], [10], [20]]
    assert ticket.timings.passes == 1
    assert ticket.timings.batch_rows == 3
    assert 0 <= ticket.timings.queue_ns <= ticket.timings.finished_ns - ticket.timings.submitted_ns


def test_rows_of_several_models_share_one_pass_and_one_delivery(
    make: Make, caller: Caller, model: FakeModel, backbone: FakeBackbone
) -> None:
    other = FakeModel("seven", backbone, model.group, slot=7)
    scheduler = make()
    scheduler.hold(3)
    for ticket in (Ticket(model, rows(1)), Ticket(other, rows(2)), Ticket(other, rows(3))):
        scheduler.submit(ticket)
    tickets = caller.wait(3)
    assert len(backbone.passes) == 1
    assert len(caller.deliveries) == 1
    assert {(t.model.name, float(t.result[0, 0])) for t in tickets} == {
        ("ten", 10),
        ("seven", 14),
        ("seven", 21),
    }
    statistics = scheduler.statistics()
    lane = statistics.backbones[backbone.lane]
    assert (lane.passes, lane.rows, lane.mixed_passes, lane.real_tokens, lane.padded_tokens) == (
        1,
        3,
        1,
        48,
        48,
    )
    assert lane.batches[3].count == 1
    seven = statistics.models["seven", 1]
    assert (seven.requests, seven.rows, seven.executions, seven.failed) == (2, 2, 1, 0)
    assert seven.batches[2].count == 1


def test_only_the_taps_that_the_rows_need_are_asked_for(
    make: Make, caller: Caller, model: FakeModel, backbone: FakeBackbone
) -> None:
    other = FakeModel("cls", backbone, FakeGroup("cls"), slot=1)
    scheduler = make()
    scheduler.submit(Ticket(model, rows(1)))
    caller.wait(1)
    scheduler.hold(2)
    scheduler.submit(Ticket(model, rows(1)))
    scheduler.submit(Ticket(other, rows(2)))
    caller.wait(3)
    assert [taps for _, taps in backbone.passes] == [("mean",), ("cls", "mean")]


def test_a_pass_grows_while_the_runner_is_busy(
    make: Make, caller: Caller, model: FakeModel, backbone: FakeBackbone
) -> None:
    """Late binding: the first row runs at once, those that come meanwhile share the next pass."""
    backbone.gate.clear()
    scheduler = make()
    scheduler.submit(Ticket(model, rows(1)))
    _until(lambda: scheduler.statistics().queued_rows == 0)
    for value in range(2, 7):
        scheduler.submit(Ticket(model, rows(value)))
    backbone.gate.set()
    caller.wait(6)
    assert [len(values) for values, _ in backbone.passes] == [1, 5]


def test_a_large_request_does_not_block_the_next_caller(
    make: Make, caller: Caller, model: FakeModel, backbone: FakeBackbone
) -> None:
    backbone.token_ns = 1e6
    scheduler = make()
    scheduler.hold(101)
    large, small = Ticket(model, rows(*range(100))), Ticket(model, rows(500))
    scheduler.submit(large)
    scheduler.submit(small)
    assert caller.wait(2) == [small, large]
    assert len(large.result) == 100
    assert any(500.0 in values for values, _ in backbone.passes[:2])


def test_a_poisoned_row_fails_alone(make: Make, caller: Caller, model: FakeModel, backbone: FakeBackbone) -> None:
    scheduler = make()
    scheduler.hold(4)
    tickets = [Ticket(model, rows(v)) for v in (1, POISON, 3)] + [Ticket(model, rows(4), context="last")]
    for ticket in tickets:
        scheduler.submit(ticket)
    caller.wait(4)
    assert [t.result.tolist() for t in (tickets[0], tickets[2], tickets[3])] == [[[10]], [[30]], [[40]]]
    error = tickets[1].result
    assert isinstance(error, HeadstockError)
    assert "ten:1: the backbone failed on row 0" in error.message
    assert "/secret" not in str(error)
    assert scheduler.statistics().backbones[backbone.lane].failed_passes == 1
    assert scheduler.statistics().models["ten", 1].failed == 1


def test_a_row_whose_features_are_not_finite_fails_alone(make: Make, caller: Caller, model: FakeModel) -> None:
    scheduler = make()
    scheduler.hold(3)
    good, bad = Ticket(model, rows(1, 2)), Ticket(model, rows(NAN))
    scheduler.submit(good)
    scheduler.submit(bad)
    caller.wait(2)
    assert good.result.tolist() == [[10], [20]]
    assert isinstance(bad.result, InvalidInput)
    assert "row 0" in bad.result.message


def test_a_head_that_throws_fails_only_its_own_rows(
    make: Make, caller: Caller, model: FakeModel, backbone: FakeBackbone
) -> None:
    other = FakeModel("other", backbone, FakeGroup(), slot=2)
    scheduler = make()
    scheduler.hold(4)
    tickets = [
        Ticket(model, rows(1)),
        Ticket(other, rows(BAD_HEAD)),
        Ticket(other, rows(5)),
        Ticket(model, rows(2)),
    ]
    for ticket in tickets:
        scheduler.submit(ticket)
    caller.wait(4)
    assert len(backbone.passes) == 1
    assert "the head failed on row 0" in tickets[1].result.message
    assert [t.result.tolist() for t in (tickets[0], tickets[2], tickets[3])] == [[[10]], [[10]], [[20]]]


def test_one_bad_row_fails_its_request_and_spares_the_rest_of_its_work(
    make: Make, caller: Caller, model: FakeModel, backbone: FakeBackbone
) -> None:
    scheduler = make()
    scheduler.submit(Ticket(model, rows(POISON, *range(100))))
    (ticket,) = caller.wait(1)
    assert isinstance(ticket.result, HeadstockError)
    assert scheduler.drain(10)
    ran = [v for values, _ in backbone.passes for v in values]
    assert len(ran) < 30
    _until(lambda: scheduler.statistics().queued_rows == 0)
    assert len(caller.tickets) == 1


def test_a_cancelled_request_costs_nothing_and_is_not_delivered(
    make: Make, caller: Caller, model: FakeModel, backbone: FakeBackbone
) -> None:
    scheduler = make()
    scheduler.hold(3)
    gone, stays = Ticket(model, rows(1, 2)), Ticket(model, rows(3))
    scheduler.submit(gone)
    gone.cancelled = True
    scheduler.submit(stays)
    caller.wait(1)
    assert scheduler.drain(10)
    assert caller.tickets == [stays]
    assert [values for values, _ in backbone.passes] == [[3.0]]
    assert scheduler.statistics().models["ten", 1].cancelled == 1


def test_a_runner_that_waits_for_company_of_a_row_that_nobody_wants_looks_again(
    make: Make, caller: Caller, model: FakeModel
) -> None:
    """The delay is an hour; the row of the caller who went leaves the queue at once."""
    scheduler = make(max_delay=3600.0)
    gone = Ticket(model, rows(1))
    scheduler.submit(gone)
    _until(lambda: all(device.idle for device in scheduler._devices.values()))
    gone.cancelled = True
    _until(lambda: scheduler.statistics().queued_rows == 0)
    assert scheduler.drain(10)
    assert caller.tickets == []


def test_who_asks_another_backbone_does_not_wait_for_the_company_of_those_who_were_answered(
    make: Make, caller: Caller, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first lane holds its row back for an hour; the other lane's row runs at once, and before it."""
    scheduler = make()
    other = FakeModel("other", FakeBackbone(LaneKey("sha256:other", "fp32", "cpu")), FakeGroup(), 1)
    other.backbone.gate.set()
    scheduler.submit(Ticket(model, rows(1)))
    caller.wait(1)
    monkeypatch.setattr(Company, "until", lambda self, now: now + 3600 * 10**9)
    held, stranger = Ticket(model, rows(2)), Ticket(other, rows(3))
    scheduler.submit(held)
    _until(lambda: all(device.holding for device in scheduler._devices.values()))
    scheduler.submit(stranger, wake=False)
    scheduler.wake()
    caller.wait(2)
    assert stranger.result is not None
    monkeypatch.undo()
    assert scheduler.drain(10)
    assert held.result is not None
    assert held.timings.started_ns >= stranger.timings.finished_ns


def test_an_expired_request_is_answered_without_running(
    make: Make, caller: Caller, model: FakeModel, backbone: FakeBackbone
) -> None:
    scheduler = make()
    scheduler.hold(2)
    late = Ticket(model, rows(1), deadline=time.monotonic() + 0.01)
    scheduler.submit(late)
    time.sleep(0.02)
    scheduler.submit(Ticket(model, rows(2)))
    caller.wait(2)
    assert isinstance(late.result, DeadlineExceeded)
    assert [values for values, _ in backbone.passes] == [[2.0]]


def test_a_deadline_that_has_passed_is_refused_at_once(make: Make, model: FakeModel) -> None:
    with pytest.raises(DeadlineExceeded):
        make().submit(Ticket(model, rows(1), deadline=time.monotonic() - 1))


def test_the_earliest_deadline_runs_first(make: Make, caller: Caller, model: FakeModel) -> None:
    scheduler = make()
    scheduler.hold(2)
    patient = Ticket(model, rows(1, length=16))
    urgent = Ticket(model, rows(2, length=90), deadline=time.monotonic() + 0.9)
    scheduler.submit(patient)
    scheduler.submit(urgent)
    assert caller.wait(2) == [urgent, patient]


def test_a_full_queue_refuses_with_the_time_to_come_back(make: Make, model: FakeModel) -> None:
    scheduler = make(queue_rows=4)
    scheduler.hold(100)
    scheduler.submit(Ticket(model, rows(1, 2, 3)))
    with pytest.raises(Exhausted, match="3 rows") as caught:
        scheduler.submit(Ticket(model, rows(4, 5)))
    assert caught.value.retry_after >= 0.01
    assert caught.value.fix
    assert scheduler.statistics().refused == 1
    scheduler.submit(Ticket(model, rows(4)))


def test_the_queue_is_limited_in_tokens_too(make: Make, model: FakeModel) -> None:
    scheduler = make(queue_tokens=100)
    scheduler.hold(100)
    scheduler.submit(Ticket(model, rows(1, length=90)))
    with pytest.raises(Exhausted, match="90 tokens"):
        scheduler.submit(Ticket(model, rows(1, length=20)))


def test_the_queue_is_limited_in_seconds_of_work_too(
    make: Make, caller: Caller, model: FakeModel, backbone: FakeBackbone
) -> None:
    """By what passes take: 128 tokens of 40 ms each are five seconds. Once they are done there is room again."""
    backbone.token_ns, backbone.measured = 40e6, [(8, 16, 5.12e9)]
    scheduler = make(queue_seconds=5.0)
    scheduler.hold(100)
    for value in range(8):
        scheduler.submit(Ticket(model, rows(value)))
    with pytest.raises(Exhausted, match=r"5.12 s of work\) wait"):
        scheduler.submit(Ticket(model, rows(9)))
    with pytest.raises(Exhausted):
        scheduler.check_room(1)
    assert scheduler.statistics().refused == 2
    scheduler.hold(0)
    caller.wait(8)
    _until(lambda: scheduler.statistics().queued_rows == 0)
    assert scheduler._recorder.waiting_ns == 0
    scheduler.check_room(4096)


def test_a_rate_that_nobody_measured_turns_nobody_away(
    make: Make, caller: Caller, model: FakeModel, backbone: FakeBackbone
) -> None:
    """An assumed rate may be wrong by a hundred; the first pass says what is right."""
    backbone.token_ns = 40e6
    scheduler = make(queue_seconds=5.0)
    scheduler.hold(9)
    for value in range(9):
        scheduler.submit(Ticket(model, rows(value)))
    caller.wait(9)
    assert scheduler.statistics().refused == 0
    assert scheduler.statistics().backbones[backbone.lane].tokens_per_second > 1e9 / 40e6


def test_one_stall_does_not_turn_callers_away() -> None:
    """A machine that slept for a minute is not a slow one; one that stays slow is, after some passes."""
    counters = LaneCounters(1000.0, known=True)
    counters.record(8, 128, 128, False, 0, 60_000_000_000)
    assert counters.token_ns <= 1100.0
    for _ in range(60):
        counters.record(8, 128, 128, False, 0, 1_280_000)
    assert counters.token_ns == pytest.approx(10_000, rel=0.05)


def test_counters_of_versions_that_are_gone_are_dropped_when_somebody_says_so(
    make: Make, caller: Caller, model: FakeModel
) -> None:
    other = FakeModel("other", model.backbone, model.group, slot=1)
    scheduler = make()
    for chosen in (model, other):
        scheduler.submit(Ticket(chosen, rows(1)))
    caller.wait(2)
    scheduler.forget([("other", 1), ("never seen", 3)])
    assert set(scheduler.statistics().models) == {("ten", 1)}


def test_rows_that_are_being_made_count_as_waiting(make: Make) -> None:
    """Else they would pile up before the threads that make them; alone, nothing is too much."""
    scheduler = make(queue_rows=4)
    scheduler.check_room(4)
    scheduler.check_room(2, making=2)
    with pytest.raises(Exhausted):
        scheduler.check_room(2, making=3)


def test_a_backbone_that_was_unloaded_leaves_no_lane_behind(make: Make, caller: Caller) -> None:
    """Not even after many came and went; one that is loaded again has one."""
    scheduler = make()
    for turn in range(1, 31):
        backbone = FakeBackbone(lane=LaneKey(f"sha256:{turn % 29}", "fp32", "cpu"))
        backbone.gate.set()
        scheduler.submit(Ticket(FakeModel("m", backbone, FakeGroup(), slot=1), rows(1)))
        caller.wait(turn)
        # The last references of a pass are the runner's, until it is idle.
        _until(lambda: all(device.idle for device in scheduler._devices.values()))
        caller_deliveries, caller.deliveries = caller.deliveries, [[None] * turn]  # type: ignore[list-item]
        del backbone, caller_deliveries
    (device,) = scheduler._devices.values()
    assert len(device._lanes) <= 3


def test_counters_of_lanes_and_models_do_not_grow_for_ever() -> None:
    recorder = Recorder()
    for number in range(5000):
        counters = recorder.lane(FakeBackbone(lane=LaneKey(f"sha256:{number}", "fp32", "cpu")))
        recorder.queued(counters, 1, 16)
        if number:
            recorder.left(LaneKey(f"sha256:{number}", "fp32", "cpu"), 1, 16)
    assert len(recorder.backbones()) <= 1025
    assert LaneKey("sha256:0", "fp32", "cpu") in recorder.backbones(), "rows wait in it"


@pytest.mark.parametrize("count", [0, 5])
def test_a_request_with_no_rows_or_too_many_is_an_error(make: Make, model: FakeModel, count: int) -> None:
    with pytest.raises(InvalidInput, match="expected 1 to 4"):
        make(queue_rows=4).submit(Ticket(model, rows(*range(count))))


def test_draining_finishes_what_was_accepted_and_refuses_the_rest(make: Make, caller: Caller, model: FakeModel) -> None:
    scheduler = make()
    scheduler.hold(100)
    for value in range(20):
        scheduler.submit(Ticket(model, rows(value)))
    assert scheduler.drain(10)
    assert len(caller.tickets) == 20
    assert all(isinstance(t.result, np.ndarray) for t in caller.tickets)
    with pytest.raises(Unavailable):
        scheduler.submit(Ticket(model, rows(1)))


def test_draining_gives_up_after_its_timeout(make: Make, model: FakeModel, backbone: FakeBackbone) -> None:
    backbone.gate.clear()
    scheduler = make()
    scheduler.submit(Ticket(model, rows(1)))
    assert not scheduler.drain(0.05)
    backbone.gate.set()


def test_closing_answers_what_never_ran(caller: Caller, model: FakeModel) -> None:
    scheduler = Scheduler(caller)
    scheduler.hold(10)
    scheduler.submit(Ticket(model, rows(1)))
    scheduler.close()
    (ticket,) = caller.wait(1)
    assert isinstance(ticket.result, Unavailable)


def test_backbones_do_not_share_passes_and_both_are_served(make: Make, caller: Caller, model: FakeModel) -> None:
    other = FakeBackbone(lane=LaneKey("sha256:other", "fp32", "cpu"))
    other.gate.set()
    second = FakeModel("other", other, FakeGroup(), slot=3)
    scheduler = make()
    scheduler.hold(4)
    for value in (1, 2):
        scheduler.submit(Ticket(model, rows(value)))
        scheduler.submit(Ticket(second, rows(value)))
    caller.wait(4)
    assert [values for values, _ in model.backbone.passes] == [[1.0, 2.0]]
    assert [values for values, _ in other.passes] == [[1.0, 2.0]]


def test_a_caller_that_throws_does_not_stop_the_runner(model: FakeModel) -> None:
    answered = threading.Event()
    calls: list[int] = []

    def deliver(tickets: Sequence[Ticket]) -> None:
        calls.append(len(tickets))
        if len(calls) == 1:
            raise RuntimeError("the caller's own mistake")
        answered.set()

    scheduler = Scheduler(deliver)
    scheduler.submit(Ticket(model, rows(1)))
    scheduler.submit(Ticket(model, rows(2)))
    _until(lambda: len(calls) >= 1)
    scheduler.submit(Ticket(model, rows(3)))
    assert answered.wait(10)
    scheduler.close()


def test_a_bug_in_choosing_passes_answers_and_refuses_instead_of_hanging(
    make: Make, caller: Caller, model: FakeModel, backbone: FakeBackbone
) -> None:
    backbone.budget = None  # type: ignore[assignment]
    scheduler = make()
    scheduler.submit(Ticket(model, rows(1)))
    assert all(isinstance(ticket.result, Unavailable) for ticket in caller.wait(1))
    with pytest.raises(Unavailable):
        scheduler.submit(Ticket(model, rows(3)))


def test_a_runner_that_cannot_be_started_takes_no_request_with_it(
    make: Make, caller: Caller, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine has no thread left; the next request finds one again."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    scheduler = make()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            scheduler.submit(Ticket(model, rows(1)))
    scheduler.submit(Ticket(model, rows(2)))
    (ticket,) = caller.wait(1)
    assert np.array_equal(np.asarray(ticket.result), [[20]])


def test_a_configured_delay_gathers_callers_that_come_close_together(
    make: Make, caller: Caller, model: FakeModel, backbone: FakeBackbone
) -> None:
    scheduler = make(max_delay=0.2)
    for value in range(8):
        scheduler.submit(Ticket(model, rows(value)))
    caller.wait(8)
    assert [len(values) for values, _ in backbone.passes] == [8]
    scheduler.submit(Ticket(model, rows(9)))
    caller.wait(9)
    assert [len(values) for values, _ in backbone.passes] == [8, 1]


@dataclass
class Expecting:
    """Somebody is about to come, for an hour."""

    complete: bool = False

    def until(self, now: int) -> int:
        return now + 3600 * 10**9

    def asked(self, now: int) -> None: ...

    def answered(self, requests: int, ran_ns: int, now: int) -> None: ...


def test_a_request_in_a_hurry_does_not_wait_for_the_company_of_others(
    make: Make, caller: Caller, model: FakeModel, backbone: FakeBackbone
) -> None:
    """A runner that waits looks again by itself, and that may be too late for who comes meanwhile."""
    scheduler = make()
    scheduler.submit(Ticket(model, rows(0)))
    caller.wait(1)
    (device,) = scheduler._devices.values()
    device.company = Expecting()  # type: ignore[assignment]
    patient = Ticket(model, rows(1))
    scheduler.submit(patient, wake=False)
    scheduler.wake()
    _until(lambda: device.holding)
    hurried = Ticket(model, rows(2), deadline=time.monotonic() + 1)
    scheduler.submit(hurried, wake=False)
    scheduler.wake()
    caller.wait(3)
    assert isinstance(hurried.result, np.ndarray)
    assert isinstance(patient.result, np.ndarray)
    assert [sorted(values) for values, _ in backbone.passes] == [[0.0], [1.0, 2.0]]


def test_an_idle_runner_keeps_no_model_loaded(make: Make, caller: Caller, backbone: FakeBackbone) -> None:
    import gc
    import weakref

    scheduler = make()
    mortal = FakeModel("mortal", backbone, FakeGroup(), slot=1)
    gone = weakref.ref(mortal)
    scheduler.submit(Ticket(mortal, rows(1)))
    caller.wait(1)
    caller.deliveries.clear()
    del mortal

    def unloaded() -> bool:
        gc.collect()
        return gone() is None

    _until(unloaded)


@pytest.mark.parametrize("runners", [1, 3])
def test_under_a_storm_every_request_is_answered_once_by_its_own_rows(
    make: Make, caller: Caller, backbone: FakeBackbone, runners: int
) -> None:
    """Several submitting threads, models, sizes, lengths, cancels and poisoned rows at once."""
    group = FakeGroup()
    models = [FakeModel(f"m{i}", backbone, group, slot=i) for i in range(1, 6)]
    scheduler = make(runners=runners)
    expected: dict[int, list[list[float]] | None] = {}
    cancelled: list[Ticket] = []
    lock = threading.Lock()

    def submit(seed: int) -> None:
        random = np.random.default_rng(seed)
        for i in range(80):
            chosen = models[int(random.integers(5))]
            values = [float(v) for v in random.integers(0, 50, int(random.integers(1, 6)))]
            poisoned = random.random() < 0.05
            if poisoned:
                values[0] = POISON
            ticket = Ticket(chosen, rows(*values, length=int(random.integers(1, 60))), context=(seed, i))
            with lock:
                expected[id(ticket)] = None if poisoned else [[v * chosen.slot] for v in values]
                kept.append(ticket)
            scheduler.submit(ticket)
            if random.random() < 0.05:
                ticket.cancelled = True
                with lock:
                    cancelled.append(ticket)

    kept: list[Ticket] = []
    threads = [threading.Thread(target=submit, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert scheduler.drain(30)
    delivered = caller.tickets
    assert len({id(t) for t in delivered}) == len(delivered)
    assert {id(t) for t in kept} - {id(t) for t in delivered} <= {id(t) for t in cancelled}
    for ticket in delivered:
        wanted = expected[id(ticket)]
        if wanted is None:
            assert isinstance(ticket.result, HeadstockError)
        else:
            assert isinstance(ticket.result, np.ndarray)
            assert ticket.result.tolist() == wanted
    _until(lambda: scheduler.statistics().queued_rows == scheduler.statistics().queued_tokens == 0)
    counted = scheduler.statistics().models.values()
    assert sum(m.requests + m.failed + m.cancelled for m in counted) == len(kept)


def test_a_deadline_that_what_waits_makes_impossible_is_refused_at_once(
    make: Make, model: FakeModel, backbone: FakeBackbone
) -> None:
    backbone.token_ns = 1e6
    scheduler = make()
    scheduler.hold(1000)
    now = time.monotonic()
    for _ in range(20):
        scheduler.submit(Ticket(model, rows(1), deadline=now + 5))
    with pytest.raises(DeadlineExceeded, match="320 tokens that wait before it") as caught:
        scheduler.submit(Ticket(model, rows(*range(320)), deadline=now + 5.3))
    assert caught.value.fix
    scheduler.submit(Ticket(model, rows(1), deadline=now + 5.3))
    assert scheduler.statistics().queued_rows == 21


def test_once_a_promise_is_answered_it_stands_in_nobodys_way(
    make: Make, caller: Caller, model: FakeModel, backbone: FakeBackbone
) -> None:
    scheduler = make()
    for i in range(3):
        gone = Ticket(model, rows(1, 2), deadline=time.monotonic() + 60)
        scheduler.hold(1000)
        scheduler.submit(gone)
        gone.cancelled = i == 1
        scheduler.submit(Ticket(model, rows(3, POISON), deadline=time.monotonic() + 60))
        scheduler.hold(0)
    caller.wait(5)
    assert scheduler.drain(10)
    (device,) = scheduler._devices.values()
    assert not device.promises
    assert device.promises.shares == 0


def test_the_recent_passes_say_why_they_were_released(make: Make, caller: Caller, model: FakeModel) -> None:
    other = FakeModel("seven", model.backbone, model.group, slot=7)
    scheduler = make()
    scheduler.hold(12)
    for value in range(5):
        scheduler.submit(Ticket(model, rows(value)))
        scheduler.submit(Ticket(other, rows(10 + value)))
    scheduler.submit(Ticket(model, rows(1, length=100)))
    scheduler.submit(Ticket(model, rows(1, length=60)))
    caller.wait(12)
    passes = scheduler.recent()
    assert [p.reason for p in passes].count(Reason.FULL) >= 1
    assert passes[-1].reason is Reason.ALL
    full = next(p for p in passes if p.padded_tokens == 128)
    assert (full.real_tokens, full.budget_tokens, full.longest, full.failed) == (128, 128, 16, False)
    assert full.models.keys() == {("ten", 1), ("seven", 1)}
    assert sum(full.models.values()) == 8
    assert full.waited_ns > 0
    assert full.ran_ns > 0


def _until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.001)
