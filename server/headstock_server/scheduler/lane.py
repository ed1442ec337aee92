"""The rows that wait for one backbone, as columns: admitting and picking cost the same for one row and thousands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

import numpy as np

from headstock.preprocess import Row
from headstock_server.scheduler import policy
from headstock_server.scheduler.contract import Backbone, LaneKey
from headstock_server.scheduler.fairness import Shares
from headstock_server.scheduler.pace import PaceMeter
from headstock_server.scheduler.ticket import Ticket

_LENGTH, _DUE, _DEADLINE, _ARRIVAL, _DEAD, _OWNER, _INDEX, _SHARE = range(8)


@dataclass(frozen=True, slots=True)
class Pass:
    """Rows of one lane that run together, as parallel lists."""

    lane: LaneKey
    backbone: Backbone
    tickets: list[Ticket]
    indices: list[int]
    """Each row's index in its ticket."""
    rows: list[Row]
    dues: Sequence[int] = ()
    """Each row's place in line, which it keeps if it comes back for another step."""
    at_ns: int = 0
    """When it was chosen, monotonic nanoseconds."""
    reason: policy.Reason | None = None
    """Why it is no larger."""


@dataclass(frozen=True, slots=True)
class Picked:
    """What left a lane."""

    work: Pass | None = None
    lane: LaneKey | None = None
    """Which lane; None if nothing left any."""
    expired: Sequence[Ticket] = ()
    """Tickets with rows that were too late; each once."""
    abandoned: Sequence[Ticket] = ()
    """Tickets with rows that nobody waits for; each once."""
    rows: int = 0
    """Rows that left, run or dropped."""
    tokens: int = 0
    ready_at: int = policy.NEVER


class Lane:
    """Waiting rows of one backbone, oldest first. Not thread-safe: the device's picking lock guards it."""

    __slots__ = ("_columns", "_next_owner", "_shares", "_tickets", "backbones", "key", "meter", "patience_ns",
                 "served_ns", "size")  # fmt: skip

    def __init__(self, backbone: Backbone, patience_ns: int) -> None:
        self.key = backbone.lane
        self.backbones: WeakValueDictionary[int, Backbone] = WeakValueDictionary()
        """Those whose rows wait here, by `id`: several on a stem. Without any the lane can go."""
        self.meter = PaceMeter(backbone.token_ns, backbone.budget.tokens, backbone.measured)
        self.patience_ns = patience_ns
        self.size = 0
        self.served_ns = 0.0
        """Estimated time that its passes took, comparable with other lanes of the device."""
        self._columns = np.zeros((8, 64), np.int64)
        self._tickets: dict[int, Ticket] = {}
        self._next_owner = 0
        self._shares = Shares()

    def admit(self, ticket: Ticket) -> None:
        """Queue all rows of a submitted ticket."""
        count = len(ticket.rows)
        start, stop = self._grow(count)
        arrival, deadline = ticket.timings.submitted_ns, _deadline(ticket)
        due = min(deadline, arrival + self.patience_ns)
        owner = self._next_owner
        self._next_owner += 1
        columns = self._columns
        if self._shares.crowded:
            columns[_SHARE, :start] = self._shares.compact(columns[_SHARE, :start])
        share = self._shares.place(ticket.tenant, ticket.model.name, ticket.priority)
        if count == 1:
            columns[:, start] = (ticket.rows[0].length, due, deadline, arrival, 0, owner, 0, share)
        else:
            new = columns[:, start:stop]
            new[_LENGTH] = [row.length for row in ticket.rows]
            # A row of a large request stands where it would if its rows had come one by one as fast as they run.
            before = np.cumsum(new[_LENGTH]) - new[_LENGTH]
            new[_DUE] = due + (before * ticket.model.backbone.token_ns).astype(np.int64)
            new[_DEADLINE], new[_ARRIVAL], new[_DEAD], new[_OWNER] = deadline, arrival, 0, owner
            new[_SHARE] = share
            new[_INDEX] = np.arange(count)
        self._tickets[owner] = ticket
        ticket.owner, ticket.waiting = owner, count
        self.size = stop
        if ticket.cancelled:
            # Its caller went between submission and now: the notice may have come before the rows.
            self.abandon(ticket)

    def readmit(self, ticket: Ticket, index: int, due: int) -> None:
        """Queue one row of a ticket again, for its next step, where it stood in line before."""
        start, _ = self._grow(1)
        share = self._shares.place(ticket.tenant, ticket.model.name, ticket.priority)
        arrival, length = ticket.timings.submitted_ns, ticket.rows[index].length
        if self._tickets.get(ticket.owner) is not ticket:
            # Its number may have another owner by now, in a lane that was made since.
            ticket.owner = self._next_owner
            self._next_owner += 1
        self._columns[:, start] = (length, due, _deadline(ticket), arrival, 0, ticket.owner, index, share)
        self._tickets[ticket.owner] = ticket
        ticket.waiting += 1
        self.size += 1
        if ticket.cancelled or ticket.result is not None:
            # Its caller went, or another of its rows failed, while this one was between two steps.
            self.abandon(ticket)

    def _grow(self, count: int) -> tuple[int, int]:
        """Columns for that many more rows, from and to."""
        start, stop = self.size, self.size + count
        if stop > self._columns.shape[1]:
            grown = np.zeros((8, max(stop, 2 * self._columns.shape[1])), np.int64)
            grown[:, :start] = self._columns[:, :start]
            self._columns = grown
        return start, stop

    def abandon(self, ticket: Ticket) -> None:
        """Mark the rows of a ticket that nobody waits for any more; the next pick drops them."""
        if self._tickets.get(ticket.owner) is ticket:
            columns = self._columns[:, : self.size]
            columns[_DEAD, columns[_OWNER] == ticket.owner] = 1

    def tickets(self) -> list[Ticket]:
        """Tickets that still have rows here."""
        return list(self._tickets.values())

    def urgency(self) -> int:
        """When the most urgent row is due; `NEVER` in an empty lane."""
        return int(self._columns[_DUE, : self.size].min()) if self.size else policy.NEVER

    def pass_ns(self) -> float:
        """Estimated time of a full pass; the lane must not be empty."""
        return self.meter.pace.time(next(iter(self._tickets.values())).model.backbone.budget.tokens)

    def pick(self, now: int, max_delay: int, company_until: int = 0) -> Picked:
        """Take the next pass and everything that must be dropped out of the lane; see `policy.select`."""
        if self.size == 0:
            return Picked()
        columns = self._columns[:, : self.size]
        waiting = policy.Waiting(
            columns[_LENGTH],
            columns[_DUE],
            columns[_DEADLINE],
            columns[_ARRIVAL],
            columns[_DEAD],
            columns[_SHARE],
        )
        backbone = next(iter(self._tickets.values())).model.backbone
        budget = self._strictest() if self.key.depth else backbone.budget
        selection = policy.select(
            waiting, budget, now, max_delay, self._shares.standing(), self.meter.pace, company_until
        )
        dropped = len(selection.expired) + len(selection.dead)
        leaving = selection.rows
        if dropped:
            leaving = np.concatenate([selection.rows, selection.expired, selection.dead])
        if len(leaving) == 0:
            return Picked(ready_at=selection.ready_at)
        tokens = int(columns[_LENGTH, leaving].sum())
        owners = columns[_OWNER, leaving].tolist()
        indices = columns[_INDEX, leaving].tolist()
        dues = columns[_DUE, selection.rows].tolist()
        if len(leaving) == self.size:
            self._shares.rest()
        elif len(selection.rows):
            self._shares.charge(columns[_SHARE, selection.rows], columns[_LENGTH, selection.rows])
        self._remove(leaving)
        tickets = [self._leave(owner) for owner in owners]
        run, late = len(selection.rows), len(selection.rows) + len(selection.expired)
        work = None
        if run:
            rows = [t.rows[i] for t, i in zip(tickets[:run], indices[:run], strict=True)]
            work = Pass(self.key, backbone, tickets[:run], indices[:run], rows, dues, now, selection.reason)
        return Picked(
            work,
            self.key,
            expired=list(dict.fromkeys(tickets[run:late])),
            abandoned=list(dict.fromkeys(tickets[late:])),
            rows=len(leaving),
            tokens=tokens,
            ready_at=selection.ready_at,
        )

    def _strictest(self) -> policy.Budget:
        """What every backbone of the stem can bear: a row may meet rows of any of them."""
        # `valuerefs` copies in one step; other threads bring backbones in meanwhile.
        budgets = [backbone.budget for ref in self.backbones.valuerefs() if (backbone := ref()) is not None]
        return policy.Budget(
            min(budget.tokens for budget in budgets),
            min(budget.rows for budget in budgets),
            min(budget.waste for budget in budgets),
        )

    def _leave(self, owner: int) -> Ticket:
        ticket = self._tickets[owner]
        ticket.waiting -= 1
        if ticket.waiting == 0:
            del self._tickets[owner]
        return ticket

    def _remove(self, leaving: policy.Ints) -> None:
        if len(leaving) == self.size:
            self.size = 0
            return
        keep = np.ones(self.size, bool)
        keep[leaving] = False
        kept = self._columns[:, : self.size][:, keep]
        self.size = kept.shape[1]
        self._columns[:, : self.size] = kept


def _deadline(ticket: Ticket) -> int:
    return policy.NEVER if ticket.deadline is None else int(ticket.deadline * 1e9)
