"""Which waiting rows make the next pass: a pure function of the queue, the budget and the clock.

The rules, in order: cancelled and expired rows are dropped before they cost anything; the row that is due first is
the seed, so no row waits for ever; rows nearest to the seed in length join it while the padded pass stays within the
token budget, the padding within its bound, and no row in it becomes late. When more waits than fits, the tenants and
models take turns (`fairness`): the seed comes from the one that has had least, and rows of those that have had their
part join last. A pass is released at once unless a delay was configured: it grows while the runner is busy, not by
waiting.

`due` is a row's place in line in nanoseconds: the earlier of its deadline and its arrival plus the lane's patience,
plus the time that the rows before it in its own request take. So a tight deadline moves a row forward, an old row
ends up in front of everything that is still alive, and a request of a hundred rows does not block the next caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from headstock_server.scheduler.fairness import Levels, Standing
from headstock_server.scheduler.pace import Pace, Times

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NEVER = np.iinfo(np.int64).max
"""The deadline of a row that has none."""
WAKING = 5_000_000
"""Nanoseconds by which a runner may wake later than it wanted to: Python hands its lock over every 5 ms."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What one pass may hold; it always may hold one row."""

    tokens: int
    """Rows times the longest row, in the preprocessor's unit of length."""
    rows: int = 1 << 20
    """Rows at most; 1 makes a private lane, where no row shares a pass."""
    waste: float = 0.10
    """Largest share of padding in the padded pass; 0.0 lets only equal lengths join."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The rows of one lane in order of arrival, one array element per row."""

    length: Ints
    """Tokens, at least 1."""
    due: Ints
    """Place in line, monotonic nanoseconds."""
    deadline: Ints
    """When the answer stops being wanted, monotonic nanoseconds; `NEVER` without one."""
    arrival: Ints
    """Monotonic nanoseconds."""
    dead: Ints
    """1 if the caller has gone or the row's request has failed already, else 0."""
    share: Ints
    """Index into a `Standing`."""


class Reason(Enum):
    """Why a pass was released as it is."""

    ALL = "all"
    """Nothing else waited."""
    FULL = "full"
    """One more row would not fit into the budget."""
    LENGTHS = "lengths"
    """The rows that waited differ too much in length from it."""
    DEADLINE = "deadline"
    """One more row would have made one of them late."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What to do with a lane now. The three index arrays are disjoint positions in `Waiting`."""

    rows: Ints
    """The next pass, the seed first; empty if there is nothing to run or it is worth waiting."""
    expired: Ints
    """Rows whose deadline has passed."""
    dead: Ints
    """Rows that nobody waits for."""
    ready_at: int = NEVER
    """When to look again, if `rows` is empty because a delay was configured."""
    reason: Reason | None = None
    """Why the pass is no larger; None without one."""


_NONE: Ints = np.empty(0, np.int64)
_FIRST: Ints = np.zeros(1, np.int64)


def select(
    waiting: Waiting,
    budget: Budget,
    now: int,
    max_delay: int = 0,
    standing: Standing | None = None,
    pace: Pace | None = None,
    company_until: int = 0,
) -> Selection:
    """The next pass of a lane at time `now`; `max_delay` (nanoseconds) lets a pass wait for company that long.

    Rows that are about to come let it wait until `company_until` (same clock as `now`), also without a delay.

    Without a `standing` all rows are one share. Without a `pace` only deadlines that have passed matter.
    """
    if len(waiting.length) == 1:
        return _lone(waiting, budget, now, max_delay, pace, company_until)
    dead = expired = _NONE
    live: Ints | None = None
    gone = waiting.dead != 0
    late = waiting.deadline <= now
    haste = None if pace is None else _haste(waiting, now, pace)
    if haste is not None:
        hopeless = haste.left < haste.pace.alone(waiting.length)
        if not (hopeless | late | gone).all():
            # It would be late even alone, and others can still be in time.
            late |= hopeless
        haste.left[hopeless] = np.inf
    if gone.any() or late.any():
        dead = np.flatnonzero(gone)
        expired = np.flatnonzero(late & ~gone)
        live = np.flatnonzero(~(gone | late))
        waiting = Waiting(*(getattr(waiting, name)[live] for name in Waiting.__slots__))
        haste = None if haste is None else _Haste(haste.left[live], haste.pace)
    if len(waiting.length) == 0:
        return Selection(_NONE, expired, dead)
    rows, reason = _rows(waiting, budget, standing, haste)
    if reason is Reason.ALL and (max_delay or company_until) and _has_room(waiting.length, budget):
        # Everything that waits fits into one pass: only then can waiting improve it.
        ready_at = _ready_at(waiting, max_delay, pace, company_until)
        if ready_at > now:
            return Selection(_NONE, expired, dead, ready_at)
    return Selection(rows if live is None else live[rows], expired, dead, reason=reason)


def _lone(
    waiting: Waiting, budget: Budget, now: int, max_delay: int, pace: Pace | None, company_until: int
) -> Selection:
    """The only row of a lane: what a caller without company meets, so it is kept short."""
    if waiting.dead[0]:
        return Selection(_NONE, _NONE, _FIRST)
    if waiting.deadline[0] <= now:
        return Selection(_NONE, _FIRST, _NONE)
    if (max_delay or company_until) and _has_room(waiting.length, budget):
        ready_at = _ready_at(waiting, max_delay, pace, company_until)
        if ready_at > now:
            return Selection(_NONE, _NONE, _NONE, ready_at)
    return Selection(_FIRST, _NONE, _NONE, reason=Reason.ALL)


@dataclass(frozen=True, slots=True)
class _Haste:
    """What deadlines leave: per row the nanoseconds that a pass with it may take, and how long passes take."""

    left: Times
    """Infinite for rows without a deadline, and for those that are late in any case."""
    pace: Pace


def _haste(waiting: Waiting, now: int, pace: Pace) -> _Haste | None:
    """None if no row has a deadline."""
    if int(waiting.deadline.min()) == NEVER:
        return None
    left = np.full(len(waiting.length), np.inf)
    bound = np.flatnonzero(waiting.deadline != NEVER)
    left[bound] = waiting.deadline[bound] - now - pace.spread_ns
    return _Haste(left, pace)


def _rows(waiting: Waiting, budget: Budget, standing: Standing | None, haste: _Haste | None) -> tuple[Ints, Reason]:
    length = waiting.length
    if len(length) == 1:
        return _FIRST, Reason.ALL
    everything = _everything(length, waiting.due, budget, haste)
    if everything is not None:
        return everything, Reason.ALL
    return _fill(waiting, budget, standing, haste)


def _everything(length: Ints, due: Ints, budget: Budget, haste: _Haste | None) -> Ints | None:
    """All rows, the one that is due first in front, if they fit into one pass; else None."""
    longest = int(length.max())
    padded = len(length) * longest
    if padded > budget.tokens or len(length) > budget.rows:
        return None
    if padded - int(length.sum()) > budget.waste * padded:
        return None
    if haste is not None and haste.pace.of(len(length), longest) > haste.left.min():
        return None
    rows = np.arange(len(length))
    seed = int(due.argmin())
    rows[0], rows[seed] = seed, 0
    return rows


def _fill(waiting: Waiting, budget: Budget, standing: Standing | None, haste: _Haste | None) -> tuple[Ints, Reason]:
    """A seed and the rows nearest to it in length that keep all bounds; ties go to the row that is due first."""
    length, due, share = waiting.length, waiting.due, waiting.share
    fair = standing if standing is not None and int(share.min()) != int(share.max()) else None
    seed = int(due.argmin()) if fair is None else fair.first(share, length, due)
    if budget.rows == 1:
        return np.array([seed], np.int64), Reason.FULL
    growing = _Growing(budget, seed, length, haste)
    by_due = due.argsort(kind="stable")
    by_due = by_due[by_due != seed]
    if fair is None:
        growing.join(_nearest(by_due, length, seed))
    else:
        own = share[by_due] == share[seed]
        order = _nearest(np.concatenate([by_due[own], by_due[~own]]), length, seed)
        within = _within(order, length, share, fair, seed, budget)
        growing.join(order[within])
        # An empty slot helps nobody: what is left goes to whoever waits.
        growing.join(order[~within])
    return np.array(growing.chosen, np.int64), growing.reason()


def _nearest(rows: Ints, length: Ints, seed: int) -> Ints:
    """The rows by their distance in length from the seed; ties stay in order."""
    distance = np.abs(length[rows] - length[seed])
    # numpy sorts 16-bit integers by radix: about five times faster on a long queue.
    short = distance.astype(np.uint16) if distance.max() <= 0xFFFF else distance
    order: Ints = rows[short.argsort(kind="stable")]
    return order


def _within(order: Ints, length: Ints, share: Ints, standing: Standing, seed: int, budget: Budget) -> Bools:
    """Which rows of `order` start within what their share and their tenant may take, counted along `order`."""
    shares, tenants = standing.allowances(share, budget.tokens)
    # Whose turn it is may fill the pass.
    shares[share[seed]] = budget.tokens
    within = _counted(share[order], length[order], shares)
    if np.count_nonzero(tenants) > 1:
        tenant = standing.tenant[share]
        tenants[tenant[seed]] = budget.tokens
        fits = np.flatnonzero(within)
        rows = order[fits]
        within[fits] = _counted(tenant[rows], length[rows], tenants)
    return within


def _counted(group: Ints, length: Ints, allowed: Levels) -> Bools:
    """Which rows start before the rows of their group have reached what is allowed to the group."""
    # As in `_nearest`; a larger number must not become another one.
    short = group.astype(np.uint16) if len(allowed) <= 0xFFFF else group
    by_group = short.argsort(kind="stable")
    groups, lengths = group[by_group], length[by_group]
    before = np.cumsum(lengths) - lengths
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    before -= np.repeat(before[starts], np.diff(starts, append=len(groups)))
    within = np.empty(len(group), bool)
    within[by_group] = before < allowed[groups]
    return within


class _Growing:
    """A pass while rows join it."""

    __slots__ = ("budget", "chosen", "haste", "hurried", "length", "limit", "longest", "total")

    def __init__(self, budget: Budget, seed: int, length: Ints, haste: _Haste | None) -> None:
        self.budget = budget
        self.length = length
        self.haste = haste
        self.chosen = [seed]
        self.longest = self.total = int(length[seed])
        self.limit = np.inf if haste is None else float(haste.left[seed])
        """Nanoseconds that the most urgent row in it can bear."""
        self.hurried = False
        """True if a row stayed outside because of a deadline."""

    def join(self, order: Ints) -> None:
        """Let rows in, in that order, which is by distance from the seed, while the bounds hold."""
        budget, chosen, longest, total = self.budget, self.chosen, self.longest, self.total
        haste = self.haste
        left = None if haste is None else haste.left[order].tolist()
        count = len(chosen)
        shorter = longer = True
        for i, (candidate, size) in enumerate(zip(order.tolist(), self.length[order].tolist(), strict=True)):
            if count >= budget.rows or not (shorter or longer):
                break
            if not (longer if size > longest else shorter):
                continue
            padded = (count + 1) * max(longest, size)
            if padded <= budget.tokens and padded - total - size <= budget.waste * padded:
                if haste is not None and left is not None:
                    limit = min(self.limit, left[i])
                    if haste.pace.of(count + 1, max(longest, size)) > limit:
                        # It would make one of them late; another row may be shorter, or in less of a hurry.
                        self.hurried = True
                        continue
                    self.limit = limit
                chosen.append(candidate)
                count, total, longest = count + 1, total + size, max(longest, size)
            elif size > longest:
                # The next longer row is worse in both bounds, whatever joins meanwhile.
                longer = False
            elif padded > budget.tokens:
                break
            else:
                shorter = False
        self.longest, self.total = longest, total

    def reason(self) -> Reason:
        """Why no more rows joined."""
        count = len(self.chosen)
        if count >= self.budget.rows or (count + 1) * self.longest > self.budget.tokens:
            return Reason.FULL
        return Reason.DEADLINE if self.hurried else Reason.LENGTHS


def _ready_at(waiting: Waiting, max_delay: int, pace: Pace | None, company_until: int) -> int:
    """When waiting for company must end: nobody is about to come and the oldest row's delay is over, or a deadline
    would be missed."""
    ready_at = max(int(waiting.arrival.min()) + max_delay, company_until)
    first = int(waiting.deadline.min())
    if pace is None or first == NEVER:
        return ready_at
    together = pace.of(len(waiting.length), int(waiting.length.max()))
    # To the last moment would be too long: a row that waited for others and then is late was wronged.
    return min(ready_at, first - int(together + pace.spread_ns) - WAKING)


def _has_room(length: Ints, budget: Budget) -> bool:
    return len(length) < budget.rows and (len(length) + 1) * int(length.max()) <= budget.tokens
