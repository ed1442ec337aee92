"""The engine's side of all front ends: starts the processes, replaces one that dies, and stops them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys

from headstock.errors import InvalidInput, Unavailable
from headstock_server.frontend.engine_port import EnginePort
from headstock_server.frontend.process import STOP
from headstock_server.transport.bind import port_taken
from headstock_server.transport.calls import Services
from headstock_server.transport.server import Carrier

log = logging.getLogger("headstock.server")

_START = 30.0
"""Seconds that a front end gets to listen."""
_AGAIN = 1.0
"""Seconds before a front end that died is replaced."""


class FrontEnds:
    """Serves handlers on one port through several processes; the kernel spreads connections over them."""

    def __init__(self, services: Services, message_bytes: int, count: int, carrier: Carrier) -> None:
        """`count` processes for `services`, by service and method. Nothing listens until `start`."""
        self._services = services
        self._message_bytes = message_bytes
        self._count = count
        self._carrier = carrier
        self._address = ""
        self._held: socket.socket | None = None
        self._processes: set[asyncio.subprocess.Process] = set()
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = False

    async def start(self, address: str) -> int:
        """Listen on `HOST:PORT`; returns the real port.

        Raises `FailedPrecondition` for a port that cannot be had, `Unavailable` if the processes do not start.
        """
        if address.startswith("unix:"):
            raise InvalidInput(
                f"front ends cannot share {address!r}: the kernel spreads connections over a port, not over a path",
                fix="--bind HOST:PORT, or no --front-ends",
            )
        host, _, port = address.rpartition(":")
        self._held = _reserved(host.strip("[]"), int(port), address)
        number = self._held.getsockname()[1]
        self._address = f"{host}:{number}"
        listening = [asyncio.Event() for _ in range(self._count)]
        self._keepers = [asyncio.create_task(self._keep(event)) for event in listening]
        try:
            async with asyncio.timeout(_START):
                await asyncio.gather(*(event.wait() for event in listening))
        except TimeoutError:
            await self.stop(0)
            raise Unavailable(f"the front ends did not listen on {self._address!r} within {_START:.0f} s") from None
        return int(number)

    async def stop(self, grace: float) -> None:
        """Refuse new calls, give running ones `grace` seconds, then end every process."""
        self._stopping = True
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(STOP)
        # Python and gRPC need a moment of their own to end.
        _, late = await asyncio.wait(self._keepers, timeout=grace + 5.0) if self._keepers else ((), ())
        for process in self._processes if late else ():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        for keeper in late:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        if self._held is not None:
            self._held.close()

    async def _keep(self, listening: asyncio.Event) -> None:
        """One process after the other, until `stop`."""
        while not self._stopping:
            status = await self._one(listening)
            if not self._stopping:
                log.error("a front end ended with status %d; another takes its place in %.0f s", status, _AGAIN)
                await asyncio.sleep(_AGAIN)

    async def _one(self, listening: asyncio.Event) -> int:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "headstock_server.frontend",
                str(theirs.fileno()),
                self._address,
                str(self._message_bytes),
                self._carrier,
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
            )
        self._processes.add(process)
        if self._stopping:  # since before there was a process that could be told
            process.send_signal(STOP)
        port = EnginePort(self._services, listening.set)
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: port.link, sock=ours)
            port.greet()
            return await process.wait()
        finally:
            self._processes.discard(process)
            port.link.close()


def _reserved(host: str, number: int, address: str) -> socket.socket:
    """A socket that holds the port without listening, so that it stays ours while front ends come and go."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # Alone first: a port that another server shares would be shared with it, too, without a word.
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, number))
        held = socket.socket(family)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((host, number))
    except OSError:
        raise port_taken(address) from None
    return held
