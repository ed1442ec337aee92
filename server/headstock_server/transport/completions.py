"""gRPC's completion queue, polled by one thread, and the way from there to the event loop.

`grpc.aio` wakes the event loop for each step of a call, through a thread and a socket, and starts two tasks for each
call. Here the first steps of a call are taken where they are noticed, and the loop is woken once for all that came
meanwhile; an empty call costs half of the processor time.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from headstock_server.transport.core import cygrpc

log = logging.getLogger("headstock.server")

_POLL = 60.0
"""Seconds after which a thread that waits for nothing looks again; shutting the queue down wakes it at once."""


class Completions:
    """One completion queue. What is passed to gRPC as a tag is called with the event, on this thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Calls by `on_loop` run on `loop`."""
        self.queue = cygrpc.CompletionQueue()
        self.loop = loop
        self._waiting: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._woken = False
        self._thread = threading.Thread(target=self._poll, name="grpc", daemon=True)

    def start(self) -> None:
        """Poll from now on."""
        self._thread.start()

    async def stop(self) -> None:
        """Wait until everything that was started has ended; the last use of the queue."""
        self.queue.shutdown()
        await self.loop.run_in_executor(None, self._thread.join)

    def on_loop(self, call: Callable[..., None], *arguments: Any) -> None:
        """Call on the event loop, soon and in order. From the queue's thread alone."""
        self._waiting.append((call, arguments))
        if not self._woken:
            self._woken = True
            try:
                self.loop.call_soon_threadsafe(self._run)
            except RuntimeError:
                # The loop was closed under us: nobody is left to answer.
                self._waiting.clear()

    def _run(self) -> None:
        # Before looking: what is queued after this wakes the loop again.
        self._woken = False
        waiting = self._waiting
        while waiting:
            call, arguments = waiting.popleft()
            _logged(call, *arguments)

    def _poll(self) -> None:
        queue = self.queue
        while True:
            event = queue.poll(time.time() + _POLL)
            if event.completion_type == cygrpc.CompletionType.queue_shutdown:
                return
            if event.tag is not None:
                _logged(event.tag, event)
            # gRPC may wait for a call that only the last event still names.
            event = None


def _logged(step: Callable[..., None], *arguments: Any) -> None:
    """One call's step; the steps of others come behind it, whatever becomes of it."""
    try:
        step(*arguments)
    except Exception:
        log.exception("this is a bug: a step of a call failed")
