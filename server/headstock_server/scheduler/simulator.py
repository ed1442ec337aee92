"""Runs the real lanes, policy and execution on a virtual clock: hours of traffic in seconds, the same every time."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

import numpy as np

from headstock.errors import DeadlineExceeded, HeadstockError
from headstock.preprocess import Row
from headstock_server.scheduler.contract import Array, Floats, HeadGroup, LaneKey, Slots
from headstock_server.scheduler.device import Device
from headstock_server.scheduler.execution import execute
from headstock_server.scheduler.heads import Again
from headstock_server.scheduler.lane import Pass
from headstock_server.scheduler.options import SchedulerOptions
from headstock_server.scheduler.policy import NEVER, Budget
from headstock_server.scheduler.ticket import Ticket

Outcome = Literal["answered", "refused", "late", "cancelled", "failed"]


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request. All times are nanoseconds of the virtual clock, which starts at 0."""

    at: int
    lengths: tuple[int, ...]
    """Tokens of each row."""
    model: str = "a"
    backbone: int = 0
    """Which of the simulator's backbones the model stands on."""
    deadline: int | None = None
    cancel: int | None = None
    """When its caller goes."""
    tenant: str = ""
    priority: int = 0
    steps: int = 1
    """Passes that each row takes."""


@dataclass(frozen=True, slots=True)
class Service:
    """How long a pass takes: a model of the hardware."""

    fixed_ns: int = 0
    token_ns: int = 1000
    """Per token of the padded pass."""
    pair_ns: float = 0.0
    """Per pair of tokens of a row: what attention costs."""

    def __call__(self, padded: int, longest: int = 0) -> int:
        """Nanoseconds of a pass of that many padded tokens, whose rows are `longest` long."""
        return self.fixed_ns + self.token_ns * padded + int(self.pair_ns * padded * longest)


@dataclass(eq=False)
class SimulatedBackbone:
    """Gives back each row's number, so that an answer shows whose row it came from."""

    lane: LaneKey
    budget: Budget
    token_ns: float
    measured: Sequence[tuple[int, int, float]] = ()

    def collate(self, rows: Sequence[Row]) -> Mapping[str, Array]:
        """The rows' numbers."""
        return {"x": np.array([row.tensors["x"] for row in rows], np.float32)}

    def infer(self, feeds: Mapping[str, Array], taps: Sequence[str]) -> Mapping[str, Floats]:
        """The rows' numbers, one wide."""
        return dict.fromkeys(taps, feeds["x"][:, None])

    def positions(self, tap: str, rows: Sequence[Row]) -> Sequence[int] | None:
        """Rows do not differ in positions."""
        return None


@dataclass(eq=False)
class _Same:
    """Heads that change nothing."""

    tap: str = "x"

    def run(self, features: Floats, slots: Slots) -> Floats:
        return features

    def run_alone(self, features: Floats, slot: int) -> Floats:
        return features

    def step(self, row: Row, outputs: object, slot: int) -> Row | None:
        left = int(row.tensors["left"]) - 1
        return Row({**row.tensors, "left": np.array(left)}, row.length) if left else None


@dataclass(eq=False)
class SimulatedModel:
    """A model whose head answers what its backbone does."""

    name: str
    backbone: SimulatedBackbone
    group: HeadGroup = field(default_factory=_Same)
    slot: int = 0
    number: int = 1


@dataclass(eq=False, slots=True)
class Answered:
    """What became of one request."""

    arrival: Arrival
    ticket: Ticket
    first_row: int
    """Its rows' numbers count up from here."""
    outcome: Outcome | None = None
    at: int = 0
    """When it was answered."""
    answers: int = 0
    """How often it was answered; anything but 1 is a bug."""

    @property
    def latency(self) -> int:
        """Nanoseconds from arrival to answer."""
        return self.at - self.arrival.at


@dataclass(frozen=True, slots=True)
class SimulatedPass:
    """One pass."""

    start: int
    end: int
    work: Pass
    padded: int
    real: int


@dataclass(slots=True)
class Simulated:
    """A finished simulation."""

    requests: list[Answered] = field(default_factory=list)
    passes: list[SimulatedPass] = field(default_factory=list)
    idle_ns: int = 0
    """Time in which a runner was idle while rows waited, summed over moments."""

    def of(self, model: str) -> list[Answered]:
        """The requests of one model."""
        return [r for r in self.requests if r.arrival.model == model]


class Simulator:
    """One device with its runners; `run` may be called once."""

    def __init__(
        self,
        budgets: Sequence[Budget] = (Budget(128),),
        service: Service = Service(),
        options: SchedulerOptions | None = None,
        measured: Sequence[tuple[int, int, float]] = (),
    ) -> None:
        """One backbone per budget; a pass takes what `service` says, and `measured` is what the profile knows of it."""
        self.options = options or SchedulerOptions()
        self._service = service
        self._backbones = [
            SimulatedBackbone(
                LaneKey(f"sha256:{i}", "fp32", "cpu"), budget, (service(128) - service(0)) / 128, measured
            )
            for i, budget in enumerate(budgets)
        ]
        self._models: dict[tuple[str, int], SimulatedModel] = {}
        self._group = _Same()
        self._device = Device(threading.Lock(), self.options)
        self._inbox: list[Ticket] = []
        self._free = self.options.runners
        self._by_ticket: dict[Ticket, Answered] = {}
        self._events: list[tuple[int, int, Callable[[int], None]]] = []
        self._sequence = count()
        self._waiting = 0
        self._look_at = NEVER
        self.result = Simulated()

    def run(self, arrivals: Iterable[Arrival], until: int = NEVER) -> Simulated:
        """Play the arrivals until every request is answered, or to the moment `until`."""
        number = 0
        for arrival in arrivals:
            self._at(arrival.at, self._arrive(arrival, number))
            number += len(arrival.lengths)
        while self._events and self._events[0][0] <= until:
            now, _, event = heapq.heappop(self._events)
            event(now)
            while self._events and self._events[0][0] == now:
                heapq.heappop(self._events)[2](now)
            self._dispatch(now)
            if self._waiting and self._free and self._events:
                self.result.idle_ns += self._events[0][0] - now
        return self.result

    def _at(self, time: int, event: Callable[[int], None]) -> None:
        heapq.heappush(self._events, (time, next(self._sequence), event))

    def _arrive(self, arrival: Arrival, number: int) -> Callable[[int], None]:
        def arrive(now: int) -> None:
            ticket = self._ticket(arrival, number)
            ticket.queued(self._device.abandoned.append)
            ticket.timings.submitted_ns = now
            request = self._by_ticket[ticket] = Answered(arrival, ticket, number)
            self.result.requests.append(request)
            pace = self._device.lane(ticket.model.backbone).meter.pace
            try:
                self._device.promises.admit(ticket, sum(arrival.lengths), pace, now, self.options.runners)
            except DeadlineExceeded as error:
                self._close(ticket, now, error)
                request.outcome = "refused"
                return
            self._inbox.append(ticket)
            self._waiting += len(ticket.rows)
            if arrival.cancel is not None:
                self._at(max(arrival.cancel, now), lambda _: setattr(ticket, "cancelled", True))

        return arrive

    def _ticket(self, arrival: Arrival, number: int) -> Ticket:
        key = arrival.model, arrival.backbone
        if key not in self._models:
            self._models[key] = SimulatedModel(arrival.model, self._backbones[arrival.backbone], self._group)
        left = np.array(arrival.steps)
        rows = [
            Row({"x": np.array(number + i, np.float32), "left": left}, length)
            for i, length in enumerate(arrival.lengths)
        ]
        deadline = None if arrival.deadline is None else arrival.deadline / 1e9
        return Ticket(self._models[key], rows, deadline, tenant=arrival.tenant, priority=arrival.priority)

    def _dispatch(self, now: int) -> None:
        while self._free:
            arrived, self._inbox = self._inbox, []
            picked = self._device.pick(arrived, now, held=False)
            self._waiting -= picked.rows
            for ticket in picked.expired:
                self._close(ticket, now, DeadlineExceeded("too late"))
                if ticket.waiting:
                    self._device.abandoned.append(ticket)
            for ticket in picked.abandoned:
                self._close(ticket, now, HeadstockError("the caller has gone"))
            if picked.work is not None:
                self._start(picked.work, now)
            elif picked.rows == 0:
                if picked.ready_at != NEVER and picked.ready_at != self._look_at:
                    self._look_at = picked.ready_at
                    self._at(picked.ready_at, lambda _: None)
                return

    def _start(self, work: Pass, now: int) -> None:
        lengths = [row.length for row in work.rows]
        padded = len(lengths) * max(lengths)
        end = now + self._service(padded, max(lengths))
        for ticket, row in zip(work.tickets, work.rows, strict=True):
            self._device.promises.started(ticket, row.length)
        self._device.begun(work)
        self._free -= 1
        self.result.passes.append(SimulatedPass(now, end, work, padded, sum(lengths)))
        self._at(end, lambda at: self._finish(work, at, end - now))

    def _finish(self, work: Pass, now: int, taken: int) -> None:
        self._free += 1
        self._device.ended(work)
        self._device.took(work, len(work.rows) * max(row.length for row in work.rows), taken, now)
        for ticket, index, due, value in zip(work.tickets, work.indices, work.dues, execute(work).values, strict=True):
            if ticket.result is not None:
                continue
            if isinstance(value, Again):
                ticket.rows[index] = value.row
                self._waiting += 1
                self._device.promises.returned(ticket, value.row.length)
                self._device.returning.append((ticket, index, due))
            elif isinstance(value, HeadstockError):
                self._close(ticket, now, value)
            elif ticket.answer(index, value):
                self._close(ticket, now, None)

    def _close(self, ticket: Ticket, now: int, error: HeadstockError | None) -> None:
        if ticket.result is not None:
            return
        ticket.result = error if error is not None else ticket.outputs
        self._device.promises.closed(ticket)
        request = self._by_ticket[ticket]
        request.answers += 1
        request.at = now
        request.outcome = _outcome(ticket, error)


def _outcome(ticket: Ticket, error: HeadstockError | None) -> Outcome:
    if ticket.cancelled:
        return "cancelled"
    if error is None:
        return "answered"
    return "late" if isinstance(error, DeadlineExceeded) else "failed"


def poisson(random: np.random.Generator, rate: float, seconds: float) -> list[int]:
    """Arrival times in nanoseconds of independent callers, `rate` per second."""
    gaps = random.exponential(1e9 / rate, max(1, int(rate * seconds * 1.2) + 10))
    times = np.cumsum(gaps)
    return [int(t) for t in times[times < seconds * 1e9]]


def bursts(random: np.random.Generator, size: int, gap: float, seconds: float) -> list[int]:
    """Arrival times of `size` callers at once, about every `gap` seconds."""
    return [at for at in poisson(random, 1 / gap, seconds) for _ in range(size)]
