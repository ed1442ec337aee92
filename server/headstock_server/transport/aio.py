"""The same handlers on `grpc.aio`: public interfaces alone, for twice the processor time of an empty call."""

from __future__ import annotations

import grpc

from headstock_server.transport.bind import port_taken
from headstock_server.transport.calls import Services
from headstock_server.transport.channel import CONCURRENT_RPCS, channel_options


class AioServer:
    """Serves handlers of raw bytes on one port of this process."""

    def __init__(self, services: Services, message_bytes: int, *, shared_port: bool = False) -> None:
        """Requests have up to `message_bytes`; `shared_port` lets several listen on one port."""
        options = channel_options(message_bytes, shared_port=shared_port)
        self._server = grpc.aio.server(options=options, maximum_concurrent_rpcs=CONCURRENT_RPCS)
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
        """Refuse new calls, give running ones `grace` seconds, then cancel them."""
        await self._server.stop(grace)
