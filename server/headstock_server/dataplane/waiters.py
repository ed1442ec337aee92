"""Wakes the requests of a finished batch with one hop from the runner's thread to the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from headstock.errors import HeadstockError

if TYPE_CHECKING:
    from headstock_server.scheduler import Outputs, Scheduler, Ticket

TURNS = 2
"""Turns of the event loop without a new request after which an idle runner is woken: calls that came together are
accepted one after the other, and a runner woken by the first would take the processor and leave with it alone."""

SLOW_TURNS = 8
"""The same on grpc.aio, which accepts about one call in five turns; an empty turn takes some microseconds."""

PATIENCE = 0.005
"""Seconds after which it is woken however many requests keep coming."""


class Waiters:
    """Bridges the scheduler's threads and one event loop: each ticket's `context` is the future of its request."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most_turns: int = TURNS) -> None:
        """Deliver to futures of `loop`; wake idle runners after `most_turns` of it without a new request."""
        self._loop = loop
        self._most_turns = most_turns
        self._turns = 0
        self._latest = 0.0

    def deliver(self, tickets: Sequence[Ticket]) -> None:
        """What the scheduler calls once for each finished batch, from any thread."""
        self._loop.call_soon_threadsafe(_wake, tickets)

    async def run(self, scheduler: Scheduler, ticket: Ticket) -> Outputs:
        """Submit the ticket and wait for its raw outputs; cancelling frees the rows that still wait."""
        ticket.context = future = self._loop.create_future()
        complete = scheduler.submit(ticket, wake=False)
        if not self._turns:
            self._loop.call_soon(self._turn, scheduler)
            self._latest = self._loop.time() + PATIENCE
        # Only what else came in this turn of the loop is waited for, unless nobody else waits for the others.
        self._turns = 1 if complete else self._most_turns
        try:
            await future
        except asyncio.CancelledError:
            ticket.cancelled = True
            raise
        result = ticket.result
        if result is None or isinstance(result, HeadstockError):
            raise result or RuntimeError("this is a bug: a ticket was delivered without a result")
        return result

    def _turn(self, scheduler: Scheduler) -> None:
        self._turns -= 1
        if self._turns and self._loop.time() < self._latest:
            self._loop.call_soon(self._turn, scheduler)
        else:
            self._turns = 0
            scheduler.wake()


def _wake(tickets: Sequence[Ticket]) -> None:
    for ticket in tickets:
        future = ticket.context
        # A caller that left in the meantime has cancelled its future.
        if not future.done():
            future.set_result(None)
