"""Between the event loop and the runners: requests that come together leave together, and none waits for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from headstock_server.dataplane import waiters as module
from headstock_server.dataplane.waiters import Waiters
from headstock_server.scheduler import Ticket


class Runner:
    """Stands for the scheduler: answers everything queued once it is woken, from a thread, as one pass."""

    def __init__(self) -> None:
        self.waiters = Waiters(asyncio.get_running_loop())
        self.queued: list[Ticket] = []
        self.passes: list[int] = []

    def submit(self, ticket: Ticket, *, wake: bool) -> None:
        """As the scheduler's."""
        assert not wake
        self.queued.append(ticket)

    def wake(self) -> None:
        """As the scheduler's."""
        batch, self.queued = self.queued, []
        self.passes.append(len(batch))
        threading.Thread(target=self._answer, args=(batch,)).start()

    def _answer(self, batch: Sequence[Ticket]) -> None:
        for ticket in batch:
            ticket.result = ticket.rows[0]  # type: ignore[assignment]
        self.waiters.deliver(batch)

    async def ask(self, number: int, turns: int = 0) -> int:
        """One request, after `turns` turns of the loop."""
        for _ in range(turns):
            await asyncio.sleep(0)
        ticket = Ticket(None, [number])  # type: ignore[arg-type,list-item]
        answer: int = await self.waiters.run(self, ticket)  # type: ignore[arg-type,assignment]
        return answer


async def test_requests_of_one_turn_leave_in_one_pass() -> None:
    runner = Runner()
    assert await asyncio.gather(*(runner.ask(i) for i in range(20))) == list(range(20))
    assert runner.passes == [20]


async def test_requests_a_few_turns_apart_leave_in_one_pass() -> None:
    runner = Runner()
    await asyncio.gather(*(runner.ask(i, turns=i * (module.TURNS - 2)) for i in range(5)))
    assert runner.passes == [5]


async def test_a_quiet_loop_lets_a_request_go_alone() -> None:
    runner = Runner()
    await runner.ask(0)
    await runner.ask(1)
    assert runner.passes == [1, 1]


async def test_a_stream_without_a_pause_does_not_hold_the_first_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """With patience for no time at all, the next turn wakes the runner although requests keep coming."""
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    runner = Runner()
    await asyncio.gather(*(runner.ask(i, turns=i * 2) for i in range(20)))
    assert sum(runner.passes) == 20
    assert runner.passes[0] <= 2


async def test_a_request_given_up_is_not_answered_and_holds_nobody() -> None:
    runner = Runner()
    gone = asyncio.ensure_future(runner.ask(0))
    await asyncio.sleep(0)
    gone.cancel()
    assert await runner.ask(1) == 1
    with pytest.raises(asyncio.CancelledError):
        await gone
