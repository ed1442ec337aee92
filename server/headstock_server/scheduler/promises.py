"""Turns away a request whose deadline cannot be met: what its share has promised before already takes too long."""

from __future__ import annotations

from collections import Counter

from headstock.errors import DeadlineExceeded
from headstock_server.scheduler.contract import LaneKey
from headstock_server.scheduler.pace import Pace
from headstock_server.scheduler.ticket import Ticket

_BUCKET = 25
"""Deadlines are told apart by 2**25 ns, 34 ms: of two within one the later one counts as being ahead too."""
_ROOM = 0.125
"""At most that part of a request's time stays free for the others of its pass. Rows that are taken at the last possible
moment run in small passes, which are slow ones."""

Share = tuple[LaneKey, str, str, int]


class Promises:
    """Work that still waits under a deadline, by share and deadline. The scheduler's lock guards it.

    Inside a share the earliest deadline goes first, so all that is due before a new request runs before it, after the
    passes that run now. Whatever other shares wait for comes on top; it is left out, so that nobody is refused for
    others' sake. What is accepted and answered too late has cost others their answers: the estimate therefore follows
    what passes really take, with all that goes on beside them on the same cores.
    """

    __slots__ = ("_ends", "_entries", "_shares")

    def __init__(self) -> None:
        self._shares: dict[Share, dict[int, _Work]] = {}
        self._entries: dict[Ticket, _Entry] = {}
        self._ends: dict[int, float] = {}
        """When the passes that run now are expected to end."""

    def __len__(self) -> int:
        """Tickets under a deadline that have no result yet."""
        return len(self._entries)

    @property
    def shares(self) -> int:
        """Shares that have promised something."""
        return len(self._shares)

    def admit(self, ticket: Ticket, tokens: int, pace: Pace, now: int, runners: int = 1) -> None:
        """Take note of a ticket's deadline; `now` is in monotonic nanoseconds.

        Raises `DeadlineExceeded` if the share is not expected to meet it, with a little room, though it had all
        `runners` of the device to itself.
        """
        if ticket.deadline is None:
            return
        deadline = int(ticket.deadline * 1e9)
        bucket = deadline >> _BUCKET
        key = self._key(ticket)
        share = self._shares.get(key, {})
        # Large requests have few lengths, and callers wait for the lock.
        lengths = Counter([row.length for row in ticket.rows])
        token_ns = sum([count * length * pace.token(length) for length, count in lengths.items()]) / tokens
        before = [work for due, work in share.items() if due <= bucket] if share else []
        # With nothing ahead it is tried even against the estimate, which could not correct itself otherwise.
        if before:
            ahead, ahead_ns = sum([work.tokens for work in before]), sum([work.ns for work in before])
            free_in = max(0.0, min(self._ends.values()) - now) if len(self._ends) >= runners else 0.0
            need = free_in + pace.stretch * (pace.fixed_ns + (ahead_ns + tokens * token_ns) / runners)
            room = min(pace.time(ticket.model.backbone.budget.tokens), _ROOM * (deadline - now))
            if now + need + room > deadline:
                raise DeadlineExceeded(
                    f"the answer is wanted in {(deadline - now) / 1e9:.3f} s, but the {ahead} tokens that wait before "
                    f"it and its own {tokens} take about {need / 1e9:.3f} s; the request was not queued",
                    fix="send it with more time, or fewer rows at once",
                )
        self._shares.setdefault(key, share).setdefault(bucket, _Work()).add(tokens, token_ns)
        self._entries[ticket] = _Entry(key, bucket, tokens, token_ns)

    def begun(self, work: int, end: float) -> None:
        """The pass of that number runs now, and is expected to end at `end`, monotonic nanoseconds."""
        self._ends[work] = end

    def ended(self, work: int) -> None:
        """The pass of that number is over."""
        del self._ends[work]

    def returned(self, ticket: Ticket, tokens: int) -> None:
        """A row of that many tokens waits again, for its next step."""
        entry = self._entries.get(ticket)
        if entry is not None:
            self._take(entry, -tokens)

    @staticmethod
    def _key(ticket: Ticket) -> Share:
        return (ticket.model.backbone.lane, ticket.tenant, ticket.model.name, ticket.priority)

    def started(self, ticket: Ticket, tokens: int) -> None:
        """That many tokens of a ticket wait no longer; they may come back."""
        entry = self._entries.get(ticket)
        if entry is not None:
            self._take(entry, tokens)

    def closed(self, ticket: Ticket) -> None:
        """The ticket has its result."""
        entry = self._entries.pop(ticket, None)
        if entry is not None and entry.left:
            self._take(entry, entry.left)

    def _take(self, entry: _Entry, tokens: int) -> None:
        entry.left -= tokens
        share = self._shares.setdefault(entry.share, {})
        work = share.setdefault(entry.bucket, _Work())
        work.add(-tokens, entry.token_ns)
        if not work.tokens:
            del share[entry.bucket]
            if not share:
                del self._shares[entry.share]


class _Work:
    """What waits under one deadline."""

    __slots__ = ("ns", "tokens")

    def __init__(self) -> None:
        self.tokens = 0
        self.ns = 0.0

    def add(self, tokens: int, token_ns: float) -> None:
        self.tokens += tokens
        self.ns += tokens * token_ns


class _Entry:
    """What one ticket still waits for."""

    __slots__ = ("bucket", "left", "share", "token_ns")

    def __init__(self, share: Share, bucket: int, left: int, token_ns: float) -> None:
        self.share = share
        self.bucket = bucket
        self.left = left
        self.token_ns = token_ns
