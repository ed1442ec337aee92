"""What every HTTP handler shares: its errors as statuses, its body, the model that its path names."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeAlias

import grpc
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from headstock.errors import Exhausted, InvalidInput, LicenceRefused
from headstock_server.dataplane.limits import LimitExceeded
from headstock_server.transport.status import failure_of, row_of

Code = grpc.StatusCode

# From the codes of the one table, so that both transports agree on what an error is.
STATUS = {
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.ABORTED: 409,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
"""Half a character by number: whole ones are written as two of these."""

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


def endpoint(handle: Endpoint) -> Endpoint:
    """A handler whose errors become answers."""

    async def answer(request: Request) -> Response:
        try:
            return await handle(request)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception as error:
            return _error(error)

    return answer


def _error(error: Exception) -> Response:
    failure = failure_of(error)
    status = 413 if isinstance(error, LimitExceeded) else STATUS.get(failure.code, 500)
    headers = {"Retry-After": str(math.ceil(error.retry_after))} if isinstance(error, Exhausted) else None
    document = {"error": failure.message}
    if isinstance(error, LicenceRefused):
        document |= {"reason": row_of(error).reason, "proof_id": error.proof_id}
    return JSONResponse(document, status, headers)


def model_of(request: Request) -> tuple[str, str]:
    """Name and version in the path; no version is empty."""
    return request.path_params["name"], request.path_params.get("version", "")


async def body_of(request: Request, cap: int) -> bytes:
    """All of the body; raises `LimitExceeded` beyond `cap` bytes."""
    if "content-encoding" in request.headers:
        raise InvalidInput("the body is compressed; expected it as it is", fix="leave Content-Encoding out")
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > cap:
            raise LimitExceeded(f"the body has more than {cap} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def parsed_json(text: bytes, *, infinite: bool = True) -> Any:
    """The value in `text`; raises `ValueError` for what is not JSON, or not text in UTF-8 with whole characters.

    Without `infinite` that goes for NaN and the infinities too, which are Python's and not JSON's.
    """
    decoded = text.decode()
    try:
        value = json.loads(decoded, parse_constant=None if infinite else _refuse_constant)
        if _SURROGATE.search(decoded):
            # Half a character fits into no message and no log; this is what tells it from two halves.
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(text)
