"""Which waiting rows make the next pass: a pure function of the queue, the budget and the clock.

The rules, in order: cancelled and expired rows are dropped before they cost anything; the row that is due first is
the seed, so no row waits for ever; rows nearest to the seed in length join it while the padded pass stays within the
token budget and the padding within its bound. When more waits than fits, the tenants and models take turns
(`fairness`): the seed comes from the one that has had least, and rows of those that have had their part join last. A
pass is released at once unless a delay was configured: it grows while the runner is busy, not by waiting.

`due` is a row's place in line in nanoseconds: the earlier of its deadline and its arrival plus the lane's patience,
plus the time that the rows before it in its own request take. So a tight deadline moves a row forward, an old row
ends up in front of everything that is still alive, and a request of a hundred rows does not block the next caller.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstock_server.scheduler.fairness import Standing

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NEVER = np.iinfo(np.int64).max
"""The deadline of a row that has none."""


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


_NONE: Ints = np.empty(0, np.int64)
_FIRST: Ints = np.zeros(1, np.int64)


def select(
    waiting: Waiting, budget: Budget, now: int, max_delay: int = 0, standing: Standing | None = None
) -> Selection:
    """The next pass of a lane at time `now`; `max_delay` (nanoseconds) lets a pass wait for company that long.

    Without a `standing` all rows are one share.
    """
    dead = expired = _NONE
    live: Ints | None = None
    gone = waiting.dead != 0
    late = waiting.deadline <= now
    if gone.any() or late.any():
        dead = np.flatnonzero(gone)
        expired = np.flatnonzero(late & ~gone)
        live = np.flatnonzero(~(gone | late))
    length = waiting.length if live is None else waiting.length[live]
    if len(length) == 0:
        return Selection(_NONE, expired, dead)
    if len(length) == 1:
        rows = _FIRST
    else:
        due = waiting.due if live is None else waiting.due[live]
        rows = _everything(length, due, budget)
        if rows is None:
            share = waiting.share if live is None else waiting.share[live]
            rows = _fill(length, due, budget, share, standing)
    if max_delay > 0 and len(rows) == len(length):
        # Everything that waits fits into one pass: only then can waiting improve it.
        arrival = waiting.arrival if live is None else waiting.arrival[live]
        ready_at = int(arrival.min()) + max_delay
        if ready_at > now and _has_room(length, budget):
            return Selection(_NONE, expired, dead, ready_at)
    return Selection(rows if live is None else live[rows], expired, dead)


def _everything(length: Ints, due: Ints, budget: Budget) -> Ints | None:
    """All rows, the one that is due first in front, if they fit into one pass; else None."""
    padded = len(length) * int(length.max())
    if padded > budget.tokens or len(length) > budget.rows:
        return None
    if padded - int(length.sum()) > budget.waste * padded:
        return None
    rows = np.arange(len(length))
    seed = int(due.argmin())
    rows[0], rows[seed] = seed, 0
    return rows


def _fill(length: Ints, due: Ints, budget: Budget, share: Ints, standing: Standing | None) -> Ints:
    """A seed and the rows nearest to it in length that keep both bounds; ties go to the row that is due first."""
    fair = standing if standing is not None and int(share.min()) != int(share.max()) else None
    seed = int(due.argmin()) if fair is None else fair.first(share, due)
    if budget.rows == 1:
        return np.array([seed], np.int64)
    order = _nearest(length, due, seed)
    growing = _Growing(budget, seed, int(length[seed]))
    if fair is None:
        growing.join(order, length)
    else:
        within = _within(order, length, share, fair.allowances(share, budget.tokens), seed)
        growing.join(order[within], length)
        # An empty slot helps nobody: what is left goes to whoever waits.
        growing.join(order[~within], length)
    return np.array(growing.chosen, np.int64)


def _nearest(length: Ints, due: Ints, seed: int) -> Ints:
    """All rows but the seed by their distance in length from it, then by when they are due."""
    by_due = due.argsort(kind="stable")
    by_due = by_due[by_due != seed]
    distance = np.abs(length[by_due] - length[seed])
    if distance.max() < 0x7FFF:
        # numpy sorts 16-bit integers by radix: about five times faster on a long queue.
        distance = distance.astype(np.int16)  # type: ignore[assignment]
    return by_due[distance.argsort(kind="stable")]


def _within(order: Ints, length: Ints, share: Ints, allowed: npt.NDArray[np.float64], seed: int) -> Bools:
    """Which rows of `order` start within what their share may take, counted along `order`."""
    by_share = share[order].argsort(kind="stable")
    sorted_ = order[by_share]
    shares, lengths = share[sorted_], length[sorted_]
    before = np.cumsum(lengths) - lengths
    starts = np.flatnonzero(np.diff(shares, prepend=-1))
    before -= np.repeat(before[starts], np.diff(starts, append=len(shares)))
    before[shares == share[seed]] += length[seed]
    within = np.empty(len(order), bool)
    within[by_share] = before < allowed[shares]
    return within


class _Growing:
    """A pass while rows join it."""

    __slots__ = ("budget", "chosen", "longest", "total")

    def __init__(self, budget: Budget, seed: int, length: int) -> None:
        self.budget = budget
        self.chosen = [seed]
        self.longest = self.total = length

    def join(self, order: Ints, length: Ints) -> None:
        """Let rows in, in that order, which is by distance from the seed, while both bounds hold."""
        budget, chosen, longest, total = self.budget, self.chosen, self.longest, self.total
        count = len(chosen)
        shorter = longer = True
        for candidate, size in zip(order.tolist(), length[order].tolist(), strict=True):
            if count >= budget.rows or not (shorter or longer):
                break
            if not (longer if size > longest else shorter):
                continue
            padded = (count + 1) * max(longest, size)
            if padded <= budget.tokens and padded - total - size <= budget.waste * padded:
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


def _has_room(length: Ints, budget: Budget) -> bool:
    return len(length) < budget.rows and (len(length) + 1) * int(length.max()) <= budget.tokens
