"""The engine's side: frames of one front end become calls of the same handlers that gRPC would call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from headstock_server.frontend.frame import Ending, Kind, Method, greeting, pack_ending, unpack_opening
from headstock_server.frontend.link import Link
from headstock_server.frontend.window import Window
from headstock_server.transport.calls import Services
from headstock_server.transport.context import Aborted, CallContext

log = logging.getLogger("headstock.server")

_OK = grpc.StatusCode.OK.value[0]
_UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED.value[0]
_INTERNAL = grpc.StatusCode.INTERNAL.value[0]


class _Call:
    """One open call: its task, and for streams what came in and how much may go out."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.requests: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.window = Window()


class EnginePort:
    """One front end, as the engine sees it."""

    def __init__(self, services: Services, on_listening: Callable[[], None]) -> None:
        """Answer with `services`: handlers of raw bytes by service and method. `on_listening`: it takes calls now."""
        self._on_listening = on_listening
        self._handlers = {
            f"/{service}/{name}": handler for service, table in services.items() for name, handler in table.items()
        }
        self._calls: dict[int, _Call] = {}
        self.link = Link(self._on_frame, self._lost)

    def greet(self) -> None:
        """Tell the front end what it may offer: it listens from then on."""
        found = (Method(p, h.request_streaming, h.response_streaming) for p, h in self._handlers.items())
        self.link.send(Kind.GREETING, 0, (greeting(found),))

    def _on_frame(self, kind: Kind, number: int, payload: bytes) -> None:
        if kind is Kind.CALL:
            call = self._calls[number] = _Call()
            call.task = asyncio.create_task(self._answer(number, call, payload))
            return
        if kind is Kind.LISTENING:
            self._on_listening()
        known = self._calls.get(number)
        if known is None:
            return  # it ended while the frame was on its way
        if kind is Kind.MESSAGE:
            known.requests.put_nowait(payload)
        elif kind is Kind.CLOSE:
            known.requests.put_nowait(None)
        elif kind is Kind.TAKEN:
            known.window.taken()
        elif kind is Kind.CANCEL and known.task is not None:
            known.task.cancel()

    def _lost(self) -> None:
        """The front end is gone, and nobody waits for its calls."""
        for call in self._calls.values():
            if call.task is not None:
                call.task.cancel()

    async def _answer(self, number: int, call: _Call, payload: bytes) -> None:
        try:
            ending = await self._run(number, call, payload)
        except Aborted as aborted:
            ending = Ending(aborted.code.value[0], aborted.details, aborted.metadata, None)
        except Exception:
            log.exception("a handler failed")
            ending = Ending(_INTERNAL, "internal error; this is a bug, and the server's log has the details", (), None)
        finally:
            del self._calls[number]
        self.link.send(Kind.END, number, pack_ending(ending))

    async def _run(self, number: int, call: _Call, payload: bytes) -> Ending:
        opening = unpack_opening(payload)
        handler: Any = self._handlers.get(opening.path)
        if handler is None:
            return Ending(_UNIMPLEMENTED, f"{opening.path} is not offered by this server", (), None)
        context = CallContext(opening.metadata, opening.remaining)
        parse = handler.request_deserializer or bytes
        if not handler.response_streaming:
            message = await handler.unary_unary(parse(opening.message or b""), context)
            return Ending(_OK, "", context.trailing, message)
        if handler.request_streaming:
            answers = handler.stream_stream(self._requests(number, call, parse), context)
        else:
            answers = handler.unary_stream(parse(opening.message or b""), context)
        try:
            async for answer in answers:
                await call.window.acquire()
                await self.link.room()
                self.link.send(Kind.MESSAGE, number, (answer,))
        finally:
            await answers.aclose()
        return Ending(_OK, "", context.trailing, None)

    async def _requests(self, number: int, call: _Call, parse: Any) -> AsyncIterator[Any]:
        while (message := await call.requests.get()) is not None:
            self.link.send(Kind.TAKEN, number)
            yield parse(message)
