"""Loads on a server: callers that wait for their answers, and arrivals that do not."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import grpc

from headstock_server.bench.figures import NOT_SENT, OK, Sample
from headstock_server.transport.tenant import TENANT

INFER = "/inference.GRPCInferenceService/ModelInfer"
CHANNEL = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
GRACE = 1.0
"""Seconds after the end in which an open loop still sends what was due."""
Metadata = tuple[tuple[str, str], ...]


class Request(NamedTuple):
    """What is sent, and to which model."""

    model: str
    message: bytes
    """Serialised."""
    metadata: Metadata = ()


Requests = Iterator[Request]
"""An endless sequence."""


@dataclass
class Target:
    """A server under load, and all that was seen of it."""

    infer: Callable[..., Any]
    requests: Requests
    timeout: float
    """Seconds until an unanswered request counts as DEADLINE_EXCEEDED."""
    samples: list[Sample] = field(default_factory=list)

    async def send(self, due: float | None = None) -> None:
        """Send the next request and note its answer, whatever it is."""
        request = next(self.requests)
        sent = time.perf_counter()
        try:
            await self.infer(request.message, timeout=self.timeout, metadata=request.metadata or None)
            code = OK
        except grpc.aio.AioRpcError as error:
            code = error.code().name
        self.samples.append(Sample(request.model, sent if due is None else due, sent, time.perf_counter(), code))

    def skip(self, due: float) -> None:
        """Note that the next request was due and could not be sent."""
        request = next(self.requests)
        now = time.perf_counter()
        self.samples.append(Sample(request.model, due, now, now, NOT_SENT))


Loop = Callable[[Target, asyncio.Event], Coroutine[Any, Any, None]]
"""Loads a target until the event is set, and returns when every request has its answer."""


def closed(concurrency: int) -> Loop:
    """`concurrency` callers that each send their next request when the last was answered."""

    async def caller(target: Target, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await target.send()

    async def loop(target: Target, stop: asyncio.Event) -> None:
        await asyncio.gather(*(caller(target, stop) for _ in range(concurrency)))

    return loop


def opened(schedule: Callable[[], Iterator[float]]) -> Loop:
    """A request at each time of the schedule, whether or not earlier ones were answered.

    A request that could not be sent in time is still due when the schedule said. Those that were due before the end and
    are not sent `GRACE` seconds after it are noted as `NOT_SENT`: the load tool cannot make this rate.
    """

    async def loop(target: Target, stop: asyncio.Event) -> None:
        waiting: set[asyncio.Task[None]] = set()
        start = time.perf_counter()
        end: float | None = None
        for offset in schedule():
            due = start + offset
            if end is None and await _stopped_before(due, stop):
                end = time.perf_counter()
            if end is not None:
                if due > end:
                    break
                if time.perf_counter() > end + GRACE:
                    target.skip(due)
                    continue
                await asyncio.sleep(0)
            task = asyncio.create_task(target.send(due))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
        await asyncio.gather(*waiting)

    return loop


async def _stopped_before(due: float, stop: asyncio.Event) -> bool:
    """Wait until `due`; True at once if the event is set first."""
    delay = due - time.perf_counter()
    if delay <= 0:
        # Behind schedule: the answers must still get their turn.
        await asyncio.sleep(0)
        return stop.is_set()
    try:
        await asyncio.wait_for(stop.wait(), delay)
    except TimeoutError:
        return False
    return True


def requests(
    models: Sequence[str], pools: Sequence[Sequence[bytes]], order: Iterator[int], tenants: int = 0
) -> Requests:
    """Each model's requests in turn, models in the order given by their places, as `tenants` tenants in turn."""
    sent = [0] * len(models)
    named: list[Metadata] = [((TENANT, f"tenant-{i}"),) for i in range(tenants)] or [()]
    for metadata, place in zip(itertools.cycle(named), order, strict=False):
        pool = pools[place]
        yield Request(models[place], pool[sent[place] % len(pool)], metadata)
        sent[place] += 1
