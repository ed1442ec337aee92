"""Which gRPC server carries the handlers."""

from __future__ import annotations

import logging
from typing import Literal, Protocol, TypeAlias

import grpc

from headstock_server.transport import core
from headstock_server.transport.aio import AioServer
from headstock_server.transport.calls import Services
from headstock_server.transport.direct import DirectServer

log = logging.getLogger("headstock.server")

Carrier: TypeAlias = Literal["direct", "aio"]


class GrpcServer(Protocol):
    """Handlers of raw bytes, on one port of this process. Nothing listens until `start`."""

    async def start(self, address: str) -> int:
        """Listen on `HOST:PORT` or `unix:PATH`; returns the real port, also where 0 was asked for.

        Raises `FailedPrecondition` for an address that cannot be had.
        """
        ...

    async def stop(self, grace: float) -> None:
        """Refuse new calls, give running ones `grace` seconds, then cancel them."""
        ...


def usable(carrier: Carrier) -> Carrier:
    """What was asked for, or `aio`, with a warning, where grpcio lacks what `direct` needs."""
    if carrier == "direct" and (missing := core.missing()):
        log.warning(
            "grpcio %s has no %s, which the direct server stands on; grpc.aio takes its place, at half the rate",
            grpc.__version__,
            " and no ".join(missing),
        )
        return "aio"
    return carrier


def grpc_server(services: Services, message_bytes: int, carrier: Carrier, *, shared_port: bool = False) -> GrpcServer:
    """A server for handlers by service and method; requests have up to `message_bytes`.

    `carrier` is `usable`; `shared_port` lets several listen on one port.
    """
    kind = DirectServer if carrier == "direct" else AioServer
    return kind(services, message_bytes, shared_port=shared_port)
