"""The front end's side: gRPC calls become frames to the engine, and its frames become answers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

import grpc

from headstock_server.frontend.frame import Ending, Kind, Method, Opening, methods, pack_opening, unpack_ending
from headstock_server.frontend.link import Link
from headstock_server.frontend.window import Window

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_GONE = Ending(grpc.StatusCode.UNAVAILABLE.value[0], "the engine's process is gone; the server is stopping", (), None)


class _Call:
    """One call that the engine has not ended yet."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[bytes | Ending] = asyncio.Queue()
        self.window = Window()


class Relay:
    """Every call of one front end, over one link."""

    def __init__(self, on_lost: Callable[[], None]) -> None:
        """`on_lost` is called when the engine is gone; calls that wait for it end UNAVAILABLE."""
        self._on_lost = on_lost
        self._numbers = itertools.count(1)
        self._single: dict[int, asyncio.Future[Ending]] = {}
        self._streams: dict[int, _Call] = {}
        self.greeted: asyncio.Future[list[Method]] = asyncio.get_running_loop().create_future()
        """The engine's methods, once it said them."""
        self.link = Link(self._on_frame, self._lost)

    def handlers(self, found: list[Method]) -> dict[str, dict[str, Handler]]:
        """A handler for each method, by service and name."""
        services: dict[str, dict[str, Handler]] = {}
        for method in found:
            _, service, name = method.path.split("/")
            services.setdefault(service, {})[name] = self._handler(method)
        return services

    def listening(self) -> None:
        """Tell the engine that calls are taken."""
        self.link.send(Kind.LISTENING, 0)

    def _handler(self, method: Method) -> Handler:
        path = method.path

        async def one(data: bytes, context: Context) -> bytes:
            return await self._unary(path, data, context)

        async def answers(data: bytes, context: Context) -> AsyncIterator[bytes]:
            async for answer in self._stream(path, data, None, context):
                yield answer

        async def both(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
            async for answer in self._stream(path, None, requests, context):
                yield answer

        if method.requests:
            return grpc.stream_stream_rpc_method_handler(both)
        return (
            grpc.unary_stream_rpc_method_handler(answers)
            if method.answers
            else grpc.unary_unary_rpc_method_handler(one)
        )

    async def _unary(self, path: str, data: bytes, context: Context) -> bytes:
        number = next(self._numbers)
        future: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._single[number] = future
        try:
            self._open(number, path, data, context)
            ending = await future
        except asyncio.CancelledError:
            self.link.send(Kind.CANCEL, number)
            raise
        finally:
            del self._single[number]
        await _end(ending, context)
        return ending.message or b""

    async def _stream(
        self, path: str, data: bytes | None, requests: AsyncIterator[bytes] | None, context: Context
    ) -> AsyncIterator[bytes]:
        number = next(self._numbers)
        call = self._streams[number] = _Call()
        sending = None
        ended = False
        try:
            self._open(number, path, data, context)
            if requests is not None:
                sending = asyncio.create_task(self._send(number, call, requests))
            while not isinstance(event := await call.events.get(), Ending):
                yield event
                self.link.send(Kind.TAKEN, number)
            ended = True
            await _end(event, context)
        finally:
            if not ended:
                self.link.send(Kind.CANCEL, number)
            if sending is not None:
                sending.cancel()
            del self._streams[number]

    async def _send(self, number: int, call: _Call, requests: AsyncIterator[bytes]) -> None:
        async for message in requests:
            await call.window.acquire()
            await self.link.room()
            self.link.send(Kind.MESSAGE, number, (message,))
        self.link.send(Kind.CLOSE, number)

    def _open(self, number: int, path: str, data: bytes | None, context: Context) -> None:
        metadata = tuple((key, value) for key, value in context.invocation_metadata() or ())
        self.link.send(Kind.CALL, number, pack_opening(Opening(path, context.time_remaining(), metadata, data)))

    def _on_frame(self, kind: Kind, number: int, payload: bytes) -> None:
        if kind is Kind.END and (future := self._single.get(number)) is not None:
            if not future.done():
                future.set_result(unpack_ending(payload))
        elif kind is Kind.GREETING:
            self.greeted.set_result(methods(payload))
        elif (call := self._streams.get(number)) is not None:
            if kind is Kind.MESSAGE:
                call.events.put_nowait(payload)
            elif kind is Kind.END:
                call.events.put_nowait(unpack_ending(payload))
            elif kind is Kind.TAKEN:
                call.window.taken()

    def _lost(self) -> None:
        for future in self._single.values():
            if not future.done():
                future.set_result(_GONE)
        for call in self._streams.values():
            call.events.put_nowait(_GONE)
        if not self.greeted.done():
            self.greeted.cancel()
        self._on_lost()


async def _end(ending: Ending, context: Context) -> None:
    if ending.code:
        await context.abort(_CODES[ending.code], ending.details, tuple(ending.metadata))
    if ending.metadata:
        context.set_trailing_metadata(tuple(ending.metadata))
