"""Loads that requests wait for: one for each model, on threads that no other request needs."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from headstock.errors import DeadlineExceeded

if TYPE_CHECKING:
    from headstock_server.repository import LoadedModel, Repository

_THREADS = 4


class Loads:
    """Brings models back that are not loaded. Event loop only."""

    def __init__(self, repository: Repository) -> None:
        """Load through `repository`."""
        self._repository = repository
        self._tasks: dict[tuple[str, str, str], asyncio.Future[LoadedModel]] = {}
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="headstock-load")

    async def get(self, name: str, version: str, deadline: float | None, tenant: str = "") -> LoadedModel:
        """The model, loaded once for everybody who asks meanwhile; raises what loading raises to all of them.

        `tenant` is one that the policy names, or empty: what may not be served to it is not loaded for it.
        Raises `DeadlineExceeded` at `deadline`, in monotonic seconds; the load goes on for the next request.
        """
        key = (name, version, tenant)
        task = self._tasks.get(key)
        if task is None:
            loop = asyncio.get_running_loop()
            task = loop.run_in_executor(self._pool, self._repository.ensure, name, version, tenant)
            self._tasks[key] = task
            task.add_done_callback(lambda done: self._ended(key, done))
        remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
        await asyncio.wait({task}, timeout=remaining)
        if not task.done():
            raise DeadlineExceeded(f"model {name!r} was still being loaded when the deadline passed; ask again")
        error = task.exception()
        if error is not None:
            # One error for many callers: each must not add its frames, and so its tensors, to the others'.
            raise error.with_traceback(None)
        return task.result()

    def close(self) -> None:
        """Stop the threads; a load that has begun is finished."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _ended(self, key: tuple[str, str, str], task: asyncio.Future[LoadedModel]) -> None:
        self._tasks.pop(key, None)
        if not task.cancelled():
            # Whoever waited may have gone; an error that nobody reads is not a bug of the loop's.
            task.exception()
