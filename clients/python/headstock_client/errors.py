"""Typed errors, made of the gRPC code and the details that the server attached."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from headstock.v1 import status_pb2

_TRAILER = "grpc-status-details-bin"
_NEVER_SENT = "failed to connect"


class ClientError(Exception):
    """A call failed; subclasses say how."""

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        reason: str = "",
        fix: str | None = None,
        error_id: str | None = None,
        proof_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        """The server's word for the kind of error: `NOT_FOUND`, `EXHAUSTED`..."""
        self.fix = fix
        """What to send instead, where the server knows."""
        self.error_id = error_id
        """What to look for in the server's log, for internal errors."""
        self.proof_id = proof_id
        """Digest of the proof behind a licence refusal: the `proof` that `headstock licence why` prints."""
        self.retry_after = retry_after
        """Seconds after which the server expects to take the request; None if it did not say."""

    @property
    def retriable(self) -> bool:
        """True if the request was certainly not processed and may be taken later."""
        return False

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


class InvalidRequest(ClientError):
    """The server does not accept what was sent."""


class NotFound(ClientError):
    """There is no such model or version."""


class FailedPrecondition(ClientError):
    """The model exists but cannot be served as it is."""


class PermissionDenied(ClientError):
    """The server may not do this for the caller; `reason` is `LICENCE_REFUSED` where licences forbid it."""


class Overloaded(ClientError):
    """A queue or a limit of the server is full."""

    @property
    def retriable(self) -> bool:
        """Only where the server said when: a request over a fixed limit never fits."""
        return self.retry_after is not None


class Unavailable(ClientError):
    """The server cannot be reached, or takes no requests now."""

    @property
    def retriable(self) -> bool:
        """True if the server refused it, or the connection never stood; not when it broke on the way."""
        return self.retry_after is not None or _NEVER_SENT in self.message


class DeadlineExceeded(ClientError):
    """The answer did not come in time."""


class Unsupported(ClientError):
    """The server does not offer this."""


class ServerError(ClientError):
    """The server failed; `error_id` finds the reason in its log."""


_KINDS: dict[grpc.StatusCode, type[ClientError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.DATA_LOSS: FailedPrecondition,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    # The caller's own cancellation never gets here; this is a server that closed while the request came in.
    grpc.StatusCode.CANCELLED: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.UNIMPLEMENTED: Unsupported,
}


def from_rpc_error(error: grpc.RpcError) -> ClientError:
    """The typed error of a failed call, sync or async."""
    code, message = error.code(), error.details() or ""
    kind = _KINDS.get(code, ServerError)
    info, retry_after = _details(error.trailing_metadata() or ())
    return kind(
        code,
        message,
        reason=info.reason,
        fix=info.metadata.get("fix"),
        error_id=info.metadata.get("error_id"),
        proof_id=info.metadata.get("proof_id"),
        retry_after=retry_after,
    )


def _details(trailers: Iterable[Any]) -> tuple[status_pb2.ErrorInfo, float | None]:
    # Trailers are pairs of a name and text, or bytes where the name ends in -bin.
    info, retry_after = status_pb2.ErrorInfo(), None
    data = next((value for key, value in trailers if key == _TRAILER), b"")
    try:
        status = status_pb2.ErrorStatus.FromString(data if isinstance(data, bytes) else data.encode())
        for detail in status.details:
            # Another package owns these names in the default pool, so `Any.Unpack` would look for other types.
            kind = detail.type_url.rpartition("/")[2]
            if kind == "google.rpc.ErrorInfo":
                info = status_pb2.ErrorInfo.FromString(detail.value)
            elif kind == "google.rpc.RetryInfo":
                delay = status_pb2.RetryInfo.FromString(detail.value).retry_delay
                retry_after = delay.seconds + delay.nanos / 1e9
    except DecodeError:
        # Details are a courtesy: some proxy between us may have cut them.
        return status_pb2.ErrorInfo(), None
    return info, retry_after
