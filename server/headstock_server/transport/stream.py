"""ModelStreamInfer: many requests on one call, answered in the order sent, with Triton's rules."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeAlias

from headstock.errors import HeadstockError
from headstock.oip import open_inference_grpc_pb2 as pb
from headstock_server.dataplane.infer import DataPlane
from headstock_server.transport.calls import Context, answer_by, refuse
from headstock_server.transport.codec import licence_trailer, parse_request, request_of, response_message
from headstock_server.transport.status import failure_of
from headstock_server.transport.tenant import tenant_of

IN_FLIGHT = 64
"""Unanswered requests of one stream; the next is not read before the oldest answer is on its way, so a caller that
reads no answers is slowed down by its own connection and not by memory."""

FINAL = "triton_final_response"
STATUS_ERRORS = "triton_grpc_error"
"""Metadata key: with the value `true` the first error ends the call with its status."""

_Answer: TypeAlias = "bytes | tuple[str, Exception]"
"""An encoded response, or the id of the request and what went wrong with it."""


class Stream:
    """One call of ModelStreamInfer. Leaving `answers` in any way frees the rows of what is not answered yet."""

    def __init__(self, plane: DataPlane, requests: AsyncIterator[bytes], context: Context) -> None:
        """Read `requests` as fast as they are answered, never more than `IN_FLIGHT` ahead."""
        self._plane = plane
        self._requests = requests
        self._context = context
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self._waiting: asyncio.Queue[asyncio.Task[_Answer] | None] = asyncio.Queue()
        self._tasks: set[asyncio.Task[_Answer]] = set()
        # Each once, in the order of their first answers; "" is that of a model without.
        self._warnings = {"": None}

    async def answers(self) -> AsyncGenerator[bytes, None]:
        """One response for each request, in order; an error is a response too unless the caller wants a status."""
        metadata = self._context.invocation_metadata() or ()
        as_status = any(key == STATUS_ERRORS and value in ("true", b"true") for key, value in metadata)
        reader = asyncio.create_task(self._read())
        try:
            while (task := await self._waiting.get()) is not None:
                answer = await task
                if isinstance(answer, tuple):
                    identifier, error = answer
                    if as_status:
                        await refuse(self._context, error)
                    answer = _error_response(identifier, error)
                yield answer
                self._room.release()
            await reader
        finally:
            reader.cancel()
            for task in self._tasks:
                task.cancel()

    async def _read(self) -> None:
        try:
            await self._room.acquire()
            async for data in self._requests:
                task = asyncio.create_task(self._answer(data))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                self._waiting.put_nowait(task)
                await self._room.acquire()
        finally:
            self._waiting.put_nowait(None)

    async def _answer(self, data: bytes) -> _Answer:
        identifier = ""
        try:
            received = parse_request(data, self._plane.limits)
            if len(received.id) <= self._plane.limits.id_length:
                identifier = received.id
            request = request_of(received)
            request.deadline = answer_by(self._context)
            request.tenant = tenant_of(self._context.invocation_metadata())
            response = await self._plane.infer(request)
            if response.licence_warning not in self._warnings:
                self._warnings[response.licence_warning] = None
                self._context.set_trailing_metadata(licence_trailer(*filter(None, self._warnings)))
            message = response_message(response)
        except Exception as error:
            # Domain errors keep their traceback out of the answer; the frames would hold the request's tensors.
            return identifier, error.with_traceback(None) if isinstance(error, HeadstockError) else error
        message.parameters[FINAL].bool_param = True
        return pb.ModelStreamInferResponse(infer_response=message).SerializeToString()


def _error_response(identifier: str, error: Exception) -> bytes:
    response = pb.ModelStreamInferResponse(error_message=failure_of(error).message)
    response.infer_response.id = identifier
    response.infer_response.parameters[FINAL].bool_param = True
    return response.SerializeToString()
