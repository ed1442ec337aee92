"""The lanes of one device, and which of them runs next."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from headstock_server.scheduler.contract import LaneKey
from headstock_server.scheduler.lane import Lane, Picked
from headstock_server.scheduler.options import SchedulerOptions
from headstock_server.scheduler.policy import NEVER
from headstock_server.scheduler.ticket import Ticket


class Device:
    """Lanes and runner threads of one device.

    `picking` guards the lanes and is never held during a pass or by a submitter; `inbox` and `idle` belong to the
    scheduler's lock. A submitter therefore waits for no more than a list append.
    """

    __slots__ = (
        "_delay_ns",
        "_lanes",
        "_patience_ns",
        "abandoned",
        "idle",
        "inbox",
        "picking",
        "threads",
        "wake",
    )

    def __init__(self, lock: threading.Lock, options: SchedulerOptions) -> None:
        """`lock` is the scheduler's."""
        self._delay_ns = int(options.max_delay * 1e9)
        self._patience_ns = int(options.patience * 1e9)
        self._lanes: dict[LaneKey, Lane] = {}
        self.picking = threading.Lock()
        self.wake = threading.Condition(lock)
        self.inbox: list[Ticket] = []
        """Submitted tickets whose rows are in no lane yet."""
        self.idle = 0
        """Runners that wait for work."""
        self.abandoned: deque[Ticket] = deque()
        """Tickets that nobody waits for any more, told from any thread."""
        self.threads: list[threading.Thread] = []

    def pick(self, arrived: Sequence[Ticket], now: int, held: bool) -> Picked:
        """Queue what arrived, then take the next pass of the most urgent lane; nothing while `held`."""
        # Caller holds `picking`.
        for ticket in arrived:
            key = ticket.model.backbone.lane
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[key] = Lane(key, self._patience_ns)
            lane.admit(ticket)
        while self.abandoned:
            ticket = self.abandoned.popleft()
            lane = self._lanes.get(ticket.model.backbone.lane)
            if lane is not None:
                lane.abandon(ticket)
        if held:
            return Picked()
        lanes = [lane for lane in self._lanes.values() if lane.size]
        if len(lanes) > 1:
            lanes.sort(key=Lane.urgency)
        ready_at = NEVER
        for lane in lanes:
            picked = lane.pick(now, self._delay_ns)
            if picked.rows:
                return picked
            ready_at = min(ready_at, picked.ready_at)
        return Picked(ready_at=ready_at)

    def waiting(self) -> list[Ticket]:
        """Tickets with rows that have not run; for a scheduler whose runners have stopped."""
        return [*self.inbox, *(ticket for lane in self._lanes.values() for ticket in lane.tickets())]
