"""The lanes of one device, and which of them runs next."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Sequence

from headstock_server.scheduler.company import Company
from headstock_server.scheduler.contract import Backbone, LaneKey
from headstock_server.scheduler.lane import Lane, Pass, Picked
from headstock_server.scheduler.options import SchedulerOptions
from headstock_server.scheduler.policy import NEVER
from headstock_server.scheduler.promises import Promises
from headstock_server.scheduler.ticket import Ticket

_LEAD = 2
"""Full passes by which a lane may be ahead of another: so far deadlines decide, beyond that fairness does."""


class Device:
    """Lanes and runner threads of one device.

    `picking` guards the lanes and is never held during a pass or by a submitter; `inbox`, `latest` and `idle` belong to
    the scheduler's lock. A submitter therefore waits for no more than a list append.
    """

    __slots__ = (
        "_arriving",
        "_delay_ns",
        "_floor_ns",
        "_gone",
        "_lanes",
        "_patience_ns",
        "abandoned",
        "company",
        "expecting",
        "holding",
        "idle",
        "inbox",
        "latest",
        "picking",
        "promises",
        "returning",
        "threads",
        "wake",
    )

    def __init__(self, lock: threading.Lock, options: SchedulerOptions) -> None:
        """`lock` is the scheduler's."""
        self._delay_ns = int(options.max_delay * 1e9)
        self._patience_ns = int(options.patience * 1e9)
        self._arriving: Sequence[Ticket] = ()
        """Taken out of the inbox; not empty only while `pick` queues them, or if it failed in doing so."""
        self._floor_ns = 0.0
        self._lanes: dict[LaneKey, Lane] = {}
        # A deque because a finaliser may run inside any allocation, where taking a lock could deadlock.
        self._gone: deque[LaneKey] = deque()
        self.picking = threading.Lock()
        self.wake = threading.Condition(lock)
        self.inbox: list[Ticket] = []
        """Submitted tickets whose rows are in no lane yet."""
        self.latest = NEVER
        """When the most urgent of them has to start, monotonic nanoseconds."""
        self.idle = 0
        """Runners that wait for work."""
        self.holding = False
        """True if the runner that went idle last has rows that wait for company."""
        self.abandoned: deque[Ticket] = deque()
        """Tickets that nobody waits for any more, told from any thread."""
        self.returning: deque[tuple[Ticket, int, int]] = deque()
        """Rows that wait for another step and are in no lane yet: ticket, index, and place in line."""
        self.promises = Promises()
        """Deadlines of what waits; the scheduler's lock guards it."""
        self.expecting: LaneKey | None = None
        """Whose callers were answered last and may ask again at once; the scheduler's lock guards it."""
        self.company = Company()
        """Callers who may ask again at once; the scheduler's lock guards it."""
        self.threads: list[threading.Thread] = []

    def lane(self, backbone: Backbone) -> Lane:
        """Where a backbone's rows wait, made when first asked for."""
        lane = self._lanes.get(backbone.lane)
        if lane is None:
            # Any thread may ask: of two lanes made at once `setdefault` keeps one.
            lane = self._lanes.setdefault(backbone.lane, Lane(backbone, self._patience_ns))
        if lane.backbones.get(id(backbone)) is not backbone:
            lane.backbones[id(backbone)] = backbone
            weakref.finalize(backbone, self._gone.append, backbone.lane).atexit = False
        return lane

    def abandon(self, ticket: Ticket) -> None:
        """A ticket's caller has gone. From any thread that does not hold the scheduler's lock."""
        self.abandoned.append(ticket)
        if self.idle:
            # A runner may be waiting for company for a row that nobody wants any more.
            with self.wake:
                self.wake.notify()

    def pick(self, arrived: Sequence[Ticket], now: int, held: bool, company_until: int = 0) -> Picked:
        """Queue what arrived, then take the next pass of the most urgent lane; nothing while `held`.

        A pass with room waits until `company_until`, in the lane whose callers are expected.
        """
        # Caller holds `picking`.
        self._arriving = arrived
        for ticket in arrived:
            self.lane(ticket.model.backbone).admit(ticket)
        self._arriving = ()
        while self.returning:
            ticket, index, due = self.returning.popleft()
            self.lane(ticket.model.backbone).readmit(ticket, index, due)
        while self.abandoned:
            ticket = self.abandoned.popleft()
            lane = self._lanes.get(ticket.model.backbone.lane)
            if lane is not None:
                lane.abandon(ticket)
        self._forget()
        if held:
            return Picked()
        lanes = [lane for lane in list(self._lanes.values()) if lane.size]
        if len(lanes) > 1:
            self._order(lanes)
        ready_at = NEVER
        for lane in lanes:
            picked = lane.pick(now, self._delay_ns, company_until if lane.key == self.expecting else 0)
            if picked.rows:
                if len(lanes) > 1 and picked.work is not None:
                    lane.served_ns += lane.meter.pace.time(picked.tokens)
                return picked
            ready_at = min(ready_at, picked.ready_at)
        return Picked(ready_at=ready_at)

    def has_strangers(self) -> bool:
        """True if a submitted ticket is of another lane than the one that waits. Caller holds the scheduler's lock."""
        return any(ticket.model.backbone.lane != self.expecting for ticket in self.inbox)

    def begun(self, work: Pass) -> None:
        """A runner took that pass. Caller holds the scheduler's lock, as for `ended` and `took`."""
        pace = self.lane(work.backbone).meter.pace
        lengths = [row.length for row in work.rows]
        self.promises.begun(id(work), work.at_ns + pace.of(len(lengths), max(lengths)))

    def ended(self, work: Pass) -> None:
        """The pass is over."""
        self.promises.ended(id(work))

    def took(self, work: Pass, padded: int, ran_ns: int, now: int) -> None:
        """The pass computed `padded` tokens, which took `ran_ns`, and is answered `now`."""
        meter = self.lane(work.backbone).meter
        lengths = [row.length for row in work.rows]
        longest = max(lengths)
        meter.observe(padded // longest, longest, ran_ns)
        meter.answered(lengths, now - work.at_ns)

    def _forget(self) -> None:
        """Let go of the lanes of backbones that were unloaded; whoever is loaded again gets a new one."""
        for _ in range(len(self._gone)):
            key = self._gone.popleft()
            lane = self._lanes.get(key)
            if lane is not None and lane.size:
                self._gone.append(key)
            elif lane is not None and not lane.backbones:
                del self._lanes[key]

    def _order(self, lanes: list[Lane]) -> None:
        """The most urgent first, but lanes that have had much more than another one wait behind it."""
        for lane in lanes:
            # A lane that was away comes back at the level of those that stayed.
            lane.served_ns = max(lane.served_ns, self._floor_ns)
        self._floor_ns = least = min(lane.served_ns for lane in lanes)
        lanes.sort(key=lambda lane: (lane.served_ns - least > _LEAD * lane.pass_ns(), lane.urgency()))

    def waiting(self) -> list[Ticket]:
        """Tickets with rows that have not run, some perhaps twice; for a scheduler whose runners have stopped."""
        queued = (ticket for lane in self._lanes.values() for ticket in lane.tickets())
        between = (ticket for ticket, _, _ in self.returning)
        return [*self.inbox, *self._arriving, *between, *queued]
