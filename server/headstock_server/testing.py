"""A real server on a free loopback port, in a thread of this process: for tests of clients and plugins."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace

from headstock.settings import Settings
from headstock_server.app import Running, ServeOptions, running


@contextmanager
def background_server(
    settings: Settings, options: ServeOptions | None = None, *, lame_duck: float = 0.0
) -> Iterator[Running]:
    """Serve the catalogue of `settings` while the block runs; yields the address and the parts.

    Raises what starting raises. Leaving the block drains the server as SIGTERM would. `lame_duck`, in seconds, stands
    in for that of the options: most tests end with the last answer, and nobody is left to be told.
    """
    options = replace(options or ServeOptions(bind="127.0.0.1:0"), lame_duck=lame_duck)
    started: Future[tuple[Running, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def run() -> None:
        stop = asyncio.Event()
        try:
            async with running(settings, options) as server:
                started.set_result((server, asyncio.get_running_loop(), stop))
                await stop.wait()
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="headstock-server")
    thread.start()
    try:
        server, loop, stop = started.result()
    except BaseException:
        thread.join()
        raise
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
