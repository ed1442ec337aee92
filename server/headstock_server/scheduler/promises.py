"""Turns away a request whose deadline cannot be met: what its share has promised before already takes too long."""

from __future__ import annotations

from headstock.errors import DeadlineExceeded
from headstock_server.scheduler.contract import LaneKey
from headstock_server.scheduler.pace import Pace
from headstock_server.scheduler.ticket import Ticket

_BUCKET = 25
"""Deadlines are told apart by 2**25 ns, 34 ms."""


class Promises:
    """Tokens that still wait under a deadline, by share and deadline. The scheduler's lock guards it.

    Inside a share the earliest deadline goes first, so all that is due before a new request runs before it. Whatever
    other shares wait for comes on top; it is left out, so that only the impossible is refused.
    """

    __slots__ = ("_entries", "_shares")

    def __init__(self) -> None:
        self._shares: dict[tuple[LaneKey, str, str, int], dict[int, int]] = {}
        self._entries: dict[Ticket, _Entry] = {}

    def __len__(self) -> int:
        """Tickets that wait under a deadline."""
        return len(self._entries)

    def admit(self, ticket: Ticket, tokens: int, pace: Pace, now: int, runners: int = 1) -> None:
        """Take note of a ticket's deadline; `now` is in monotonic nanoseconds.

        Raises `DeadlineExceeded` if the share could not meet it with all `runners` of the device to itself.
        """
        if ticket.deadline is None:
            return
        deadline = int(ticket.deadline * 1e9)
        bucket = deadline >> _BUCKET
        share = self._share(ticket)
        ahead = sum([waiting for due, waiting in share.items() if due < bucket]) if share else 0
        # With nothing ahead it is tried even against the estimate, which could not correct itself otherwise.
        if ahead:
            need = pace.fixed_ns + (ahead + tokens) * pace.token_ns / runners
            if now + need > deadline:
                raise DeadlineExceeded(
                    f"the answer is wanted in {(deadline - now) / 1e9:.3f} s, but the {ahead} tokens that wait before "
                    f"it and its own {tokens} take about {need / 1e9:.3f} s; the request was not queued",
                    fix="send it with more time, or fewer rows at once",
                )
        share[bucket] = share.get(bucket, 0) + tokens
        self._entries[ticket] = _Entry(share, bucket, tokens)

    def returned(self, ticket: Ticket, tokens: int) -> None:
        """A row of that many tokens waits again, for its next step."""
        if ticket.deadline is None:
            return
        entry = self._entries.get(ticket)
        if entry is None:
            bucket = int(ticket.deadline * 1e9) >> _BUCKET
            entry = self._entries[ticket] = _Entry(self._share(ticket), bucket, 0)
        entry.take(-tokens)

    def _share(self, ticket: Ticket) -> dict[int, int]:
        model = ticket.model
        return self._shares.setdefault((model.backbone.lane, ticket.tenant, model.name, ticket.priority), {})

    def started(self, ticket: Ticket, tokens: int) -> None:
        """That many tokens of a ticket wait no longer."""
        entry = self._entries.get(ticket)
        if entry is not None:
            entry.take(tokens)
            if not entry.left:
                del self._entries[ticket]

    def closed(self, ticket: Ticket) -> None:
        """The ticket has its result."""
        entry = self._entries.pop(ticket, None)
        if entry is not None:
            entry.take(entry.left)


class _Entry:
    """What one ticket still waits for."""

    __slots__ = ("bucket", "left", "share")

    def __init__(self, share: dict[int, int], bucket: int, left: int) -> None:
        self.share = share
        self.bucket = bucket
        self.left = left

    def take(self, tokens: int) -> None:
        self.left -= tokens
        waiting = self.share.get(self.bucket, 0) - tokens
        if waiting:
            self.share[self.bucket] = waiting
        else:
            del self.share[self.bucket]
