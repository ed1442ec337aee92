"""How every handler parses, answers and fails: raw bytes in, raw bytes out, one place for errors."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import NoReturn, TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from headstock.errors import InvalidInput, Unsupported
from headstock_server.dataplane.limits import LimitExceeded
from headstock_server.transport.status import failure_of
from headstock_server.transport.tenant import tenant_of

# Quoted: these types take parameters in their stubs only.
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"
Services: TypeAlias = Mapping[str, Mapping[str, Handler]]
"""Handlers by service and method."""
Request = TypeVar("Request", bound=Message)

_WAY_BACK, _WAY_BACK_SHARE = 0.02, 0.1
"""Seconds that an answer may need from the end of its pass to its caller, and at most which part of its time."""

_SMALL = 64 * 1024
"""Bytes of the largest request but ModelInfer's: names and flags."""


async def refuse(context: Context, error: Exception) -> NoReturn:
    """End the call with the code, message and details that belong to `error`."""
    failure = failure_of(error)
    await context.abort(failure.code, failure.message, failure.trailers)


def answer_by(context: Context) -> float | None:
    """When the answer must leave to reach its caller in time, monotonic seconds; None for a call without a deadline.

    An answer that is computed and comes a moment too late has cost what others needed.
    """
    remaining = context.time_remaining()
    if remaining is None:
        return None
    return time.monotonic() + remaining - min(_WAY_BACK, _WAY_BACK_SHARE * remaining)


def unary(parse: Callable[[bytes], Request], answer: Callable[[Request], Awaitable[Message]]) -> Handler:
    """A handler for small messages."""

    async def handle(data: bytes, context: Context) -> bytes:
        try:
            return (await answer(parsed(parse, data))).SerializeToString()
        except Exception as error:
            await refuse(context, error)

    return grpc.unary_unary_rpc_method_handler(handle)


def unary_for_tenant(
    parse: Callable[[bytes], Request], answer: Callable[[Request, str], Awaitable[Message]]
) -> Handler:
    """The same where the answer depends on the tenant that the caller names; empty if it names none."""

    async def handle(data: bytes, context: Context) -> bytes:
        try:
            tenant = tenant_of(context.invocation_metadata())
            return (await answer(parsed(parse, data), tenant)).SerializeToString()
        except Exception as error:
            await refuse(context, error)

    return grpc.unary_unary_rpc_method_handler(handle)


def unimplemented(method: str, reason: str) -> Handler:
    """A handler that says why it does nothing, without parsing what was sent."""
    error = Unsupported(f"{method} is not offered by this server: {reason}")

    async def handle(_: object, context: Context) -> bytes:
        await refuse(context, error)

    return grpc.unary_unary_rpc_method_handler(handle)


def parsed(parse: Callable[[bytes], Request], data: bytes) -> Request:
    """A small message; raises `InvalidInput`, or `LimitExceeded` before it costs anything."""
    if len(data) > _SMALL:
        raise LimitExceeded(f"the request has {len(data)} bytes; expected at most {_SMALL}")
    try:
        return parse(data)
    except DecodeError:
        raise InvalidInput("the request is not a valid message of this method") from None
