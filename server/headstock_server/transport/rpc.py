"""One call of a `DirectServer`: what it needs of gRPC, step by step, and the task that answers it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc

from headstock_server.transport.calls import Handler
from headstock_server.transport.completions import Completions
from headstock_server.transport.context import Aborted, CallContext, Metadata
from headstock_server.transport.core import Event, cygrpc

log = logging.getLogger("headstock.server")

_FLAGS = 0
_FAR = 1e15
"""Seconds; gRPC's deadline of a call without one is later."""
_OK = grpc.StatusCode.OK


class Rpc(CallContext):
    """A call that was accepted. It is its handler's context too: there is one for every request.

    Steps named after what gRPC completed run on the queue's thread, all others on the event loop.
    """

    __slots__ = ("_call", "_completions", "_ended", "_handler", "_opened", "_task")

    def __init__(self, event: Event, completions: Completions, handler: Handler | None) -> None:
        """`event` is gRPC's for a new call."""
        deadline: float = event.call_details.deadline
        super().__init__(event.invocation_metadata, None if deadline > _FAR else max(0.0, deadline - time.time()))
        self._call = event.call
        self._completions = completions
        self._handler: Any = handler
        self._task: asyncio.Task[None] | None = None
        self._opened = self._ended = False

    def accepted(self) -> None:
        """Begin to receive."""
        if self._handler.request_streaming:
            self._completions.on_loop(self._begin, None)
        else:
            self._call.start_server_batch((cygrpc.ReceiveMessageOperation(_FLAGS),), self._received)

    def left(self) -> None:
        """The caller cancelled, lost its connection or passed its deadline."""
        self._completions.on_loop(self._cancel)

    def end(self, code: grpc.StatusCode, details: str, trailing: Metadata = (), message: bytes | None = None) -> None:
        """Send the status, behind the one answer of a call that has one. From any thread, once."""
        self._ended = True
        operations = [cygrpc.SendStatusFromServerOperation(trailing or None, code.value[0], details, _FLAGS)]
        if message is not None:
            operations.insert(0, cygrpc.SendMessageOperation(message, _FLAGS))
        self._send(operations, None)

    def _received(self, event: Event) -> None:
        self._completions.on_loop(self._begin, event.batch_operations[0].message())

    def _begin(self, message: bytes | None) -> None:
        if self._ended:
            return
        handler = self._handler
        if message is None and not handler.request_streaming:
            # It was too large, which gRPC has answered itself, or there was none.
            self.end(grpc.StatusCode.INTERNAL, "the call ended without a request; expected one")
            return
        answer = self._stream if handler.response_streaming else self._unary
        self._task = self._completions.loop.create_task(answer(message))

    def _cancel(self) -> None:
        self._ended = True
        if self._task is not None:
            self._task.cancel()

    async def _unary(self, message: bytes | None) -> None:
        try:
            answer = await self._handler.unary_unary(message, self)
        except Exception as error:
            self._fail(error)
        else:
            if not self._ended:
                self.end(_OK, "", self.trailing, answer)

    async def _stream(self, message: bytes | None) -> None:
        handler = self._handler
        if handler.request_streaming:
            answers = handler.stream_stream(self._requests(), self)
        else:
            answers = handler.unary_stream(message, self)
        try:
            try:
                async for answer in answers:
                    await self._complete(self._send, [cygrpc.SendMessageOperation(answer, _FLAGS)])
            finally:
                await answers.aclose()
        except Exception as error:
            self._fail(error)
        else:
            if not self._ended:
                self.end(_OK, "", self.trailing)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, Aborted):
            ending = error.code, error.details, error.metadata
        else:
            log.error("this is a bug: a handler failed", exc_info=error)
            ending = grpc.StatusCode.INTERNAL, "this is a bug; the server's log has the details", ()
        if not self._ended:
            self.end(*ending)

    async def _requests(self) -> AsyncIterator[bytes]:
        while True:
            event = await self._complete(self._call.start_server_batch, [cygrpc.ReceiveMessageOperation(_FLAGS)])
            message = event.batch_operations[0].message()
            if message is None:
                return
            yield message

    async def _complete(self, start: Any, operations: list[Any]) -> Event:
        """The event of those operations; a call that is gone is cancelled instead."""
        completions = self._completions
        future: asyncio.Future[Event] = completions.loop.create_future()
        start(operations, lambda event: completions.on_loop(_resolve, future, event))
        return await future

    def _send(self, operations: list[Any], tag: Any) -> None:
        if not self._opened:
            self._opened = True
            operations.insert(0, cygrpc.SendInitialMetadataOperation(None, _FLAGS))
        self._call.start_server_batch(operations, tag)


def _resolve(future: asyncio.Future[Event], event: Event) -> None:
    # What failed did so because the caller is gone, and that cancels the task.
    if event.success and not future.done():
        future.set_result(event)
