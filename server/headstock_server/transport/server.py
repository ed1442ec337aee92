"""The gRPC server: which channel limits, how it starts and how it ends."""

from __future__ import annotations

from collections.abc import Mapping

import grpc

from headstock.errors import FailedPrecondition
from headstock_server.transport.calls import Handler
from headstock_server.transport.channel import CONCURRENT_RPCS, channel_options


class GrpcServer:
    """Serves handlers on one port of this process."""

    def __init__(self, services: Mapping[str, Mapping[str, Handler]], message_bytes: int) -> None:
        """`services` by service and method; requests of up to `message_bytes`. Nothing listens until `start`."""
        self._server = grpc.aio.server(options=channel_options(message_bytes), maximum_concurrent_rpcs=CONCURRENT_RPCS)
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(name, dict(handlers)) for name, handlers in services.items()]
        )

    async def start(self, address: str) -> int:
        """Listen on `HOST:PORT`; returns the real port, also where 0 was asked for."""
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError:
            raise port_taken(address) from None
        await self._server.start()
        return port

    async def stop(self, grace: float) -> None:
        """Refuse new calls, give running ones `grace` seconds."""
        await self._server.stop(grace)


def port_taken(address: str) -> FailedPrecondition:
    """The error for an address that cannot be listened on."""
    return FailedPrecondition(
        f"cannot listen on {address!r}: the port is taken or the address is not of this machine",
        fix="--bind 127.0.0.1:0 takes any free port",
    )
