"""A gRPC server over the completion queue: how it starts, accepts calls and ends."""

from __future__ import annotations

import asyncio
from functools import partial

import grpc

from headstock_server.transport.bind import port_taken
from headstock_server.transport.calls import Services
from headstock_server.transport.channel import CONCURRENT_RPCS, channel_options
from headstock_server.transport.completions import Completions
from headstock_server.transport.core import Event, cygrpc
from headstock_server.transport.rpc import Rpc


class DirectServer:
    """Serves handlers of raw bytes on one port of this process."""

    def __init__(self, services: Services, message_bytes: int, *, shared_port: bool = False) -> None:
        """Requests have up to `message_bytes`; `shared_port` lets several listen on one port."""
        self._handlers = {
            f"/{service}/{name}".encode(): handler
            for service, table in services.items()
            for name, handler in table.items()
        }
        self._completions = Completions(asyncio.get_running_loop())
        self._server = cygrpc.Server(channel_options(message_bytes, shared_port=shared_port), False)
        self._server.register_completion_queue(self._completions.queue)
        self._calls = 0

    async def start(self, address: str) -> int:
        """Listen on `HOST:PORT`; returns the real port, also where 0 was asked for."""
        port: int = self._server.add_http2_port(address.encode())
        self._server.start()
        self._completions.start()
        if not port:
            await self.stop(0)
            raise port_taken(address)
        self._accept_next()
        return port

    async def stop(self, grace: float) -> None:
        """Refuse new calls, give running ones `grace` seconds, then cancel them."""
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        self._server.shutdown(self._completions.queue, lambda _: self._completions.on_loop(ended.set_result, None))
        await asyncio.wait([ended], timeout=grace)
        if not ended.done():
            self._server.cancel_all_calls()
            await ended
        await self._completions.stop()

    # ------------------------------------------------------------------------------------------ the queue's thread
    def _accept_next(self) -> None:
        queue = self._completions.queue
        self._server.request_call(queue, queue, self._arrived)

    def _arrived(self, event: Event) -> None:
        if not event.success:
            return  # the server stops
        self._accept_next()
        handler = self._handlers.get(event.call_details.method)
        rpc = Rpc(event, self._completions, handler)
        self._calls += 1
        event.call.start_server_batch((cygrpc.ReceiveCloseOnServerOperation(0),), partial(self._closed, rpc))
        if handler is None:
            method = event.call_details.method.decode(errors="replace")
            rpc.end(grpc.StatusCode.UNIMPLEMENTED, f"{method[:200]} is not offered by this server")
        elif self._calls > CONCURRENT_RPCS:
            rpc.end(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{CONCURRENT_RPCS} calls are open, and no more may be")
        else:
            rpc.accepted()

    def _closed(self, rpc: Rpc, event: Event) -> None:
        self._calls -= 1
        if event.batch_operations[0].cancelled():
            rpc.left()
