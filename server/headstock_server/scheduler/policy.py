"""Which waiting rows make the next pass: a pure function of the queue, the budget and the clock.

The rules, in order: cancelled and expired rows are dropped before they cost anything; the row that is due first is
the seed, so no row waits for ever; rows nearest to the seed in length join it while the padded pass stays within the
token budget and the padding within its bound. A pass is released at once unless a delay was configured: it grows
while the runner is busy, not by waiting.

`due` is a row's place in line in nanoseconds: the earlier of its deadline and its arrival plus the lane's patience,
plus the time that the rows before it in its own request take. So a tight deadline moves a row forward, an old row
ends up in front of everything that is still alive, and a request of a hundred rows does not block the next caller.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

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


def select(waiting: Waiting, budget: Budget, now: int, max_delay: int = 0) -> Selection:
    """The next pass of a lane at time `now`; `max_delay` (nanoseconds) lets a pass wait for company that long."""
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
    due = waiting.due if live is None else waiting.due[live]
    rows = _FIRST if len(length) == 1 else _fill(length, int(due.argmin()), budget)
    if max_delay > 0 and len(rows) == len(length):
        # Everything that waits fits into one pass: only then can waiting improve it.
        arrival = waiting.arrival if live is None else waiting.arrival[live]
        ready_at = int(arrival.min()) + max_delay
        if ready_at > now and _has_room(length, budget):
            return Selection(_NONE, expired, dead, ready_at)
    return Selection(rows if live is None else live[rows], expired, dead)


def _fill(length: Ints, seed: int, budget: Budget) -> Ints:
    """The seed and the rows nearest to it in length that keep both bounds; ties go to the older row."""
    distance = np.abs(length - length[seed])
    distance[seed] = -1
    if distance.max() < 0x7FFF:
        # numpy sorts 16-bit integers by radix: about five times faster on a long queue.
        order = distance.astype(np.int16).argsort(kind="stable")
    else:
        order = distance.argsort(kind="stable")
    longest = total = int(length[seed])
    count, chosen = 1, [seed]
    shorter = longer = True
    for candidate, size in zip(order[1:].tolist(), length[order[1:]].tolist(), strict=True):
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
    return np.array(chosen, np.int64)


def _has_room(length: Ints, budget: Budget) -> bool:
    return len(length) < budget.rows and (len(length) + 1) * int(length.max()) <= budget.tokens
