"""A front end's process: a gRPC server whose calls all go to the engine, until that says stop or is gone."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket

from headstock.errors import FailedPrecondition
from headstock_server.frontend.relay import Relay
from headstock_server.transport.server import Carrier, grpc_server

STOP = signal.SIGUSR1
"""What the engine's process sends when it has answered everything."""
_GRACE = 1.0
"""Seconds for answers that are on their way when the server stops."""


async def run(descriptor: int, address: str, message_bytes: int, carrier: Carrier) -> int:
    """Relay calls from `address` to the socket `descriptor`; returns the process's exit status.

    0 after `STOP`; 1 when the engine's process is gone or the port cannot be had.
    """
    loop = asyncio.get_running_loop()
    stop, gone = asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(STOP, stop.set)
    for number in (signal.SIGINT, signal.SIGTERM):
        # Terminals and service managers send them to every process of the group; the server decides what they mean, and
        # needs this one until the last answer is out.
        loop.add_signal_handler(number, lambda: None)

    def lost() -> None:
        gone.set()
        stop.set()

    relay = Relay(lost)
    with socket.socket(fileno=descriptor) as end:
        await loop.create_unix_connection(lambda: relay.link, sock=end.dup())
    try:
        services = relay.handlers(await relay.greeted)
    except asyncio.CancelledError:
        return 1
    server = grpc_server(services, message_bytes, carrier, shared_port=True)
    try:
        await server.start(address)
    except FailedPrecondition:
        return 1
    relay.listening()
    gc.collect()
    gc.freeze()
    await stop.wait()
    await server.stop(_GRACE)
    relay.link.close()
    return int(gone.is_set())
