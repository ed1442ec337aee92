"""Wakes the requests of a finished batch with one hop from the runner's thread to the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from headstock.errors import HeadstockError

if TYPE_CHECKING:
    from headstock_server.scheduler import Outputs, Scheduler, Ticket


class Waiters:
    """Bridges the scheduler's threads and one event loop: each ticket's `context` is the future of its request."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Deliver to futures of `loop`."""
        self._loop = loop

    def deliver(self, tickets: Sequence[Ticket]) -> None:
        """What the scheduler calls once for each finished batch, from any thread."""
        self._loop.call_soon_threadsafe(_wake, tickets)

    async def run(self, scheduler: Scheduler, ticket: Ticket) -> Outputs:
        """Submit the ticket and wait for its raw outputs; cancelling frees the rows that still wait."""
        ticket.context = future = self._loop.create_future()
        scheduler.submit(ticket)
        try:
            await future
        except asyncio.CancelledError:
            ticket.cancelled = True
            raise
        result = ticket.result
        if result is None or isinstance(result, HeadstockError):
            raise result or RuntimeError("this is a bug: a ticket was delivered without a result")
        return result


def _wake(tickets: Sequence[Ticket]) -> None:
    for ticket in tickets:
        future = ticket.context
        # A caller that left in the meantime has cancelled its future.
        if not future.done():
            future.set_result(None)
