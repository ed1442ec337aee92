"""The one table from domain errors to gRPC codes, and the details that go with each."""

from __future__ import annotations

import logging
import secrets
from typing import NamedTuple

import grpc
from google.rpc import error_details_pb2, status_pb2

from headstock import errors
from headstock_server.dataplane.limits import LimitExceeded
from headstock_server.frames import drop_frames

log = logging.getLogger("headstock.server")

DOMAIN = "headstock"
TRAILER = "grpc-status-details-bin"
_LONGEST = 1000
"""Characters of a message..."""
_LONGEST_ENCODED = 600
"""...and bytes where not all are ASCII. gRPC writes three characters for each of these bytes, the details repeat the
message, and a client that gets more than 8 KiB sees neither message nor code."""

Code = grpc.StatusCode


class Row(NamedTuple):
    """What one kind of error becomes."""

    code: Code
    reason: str
    """`ErrorInfo.reason`."""


# The nearest class in the error's method resolution order decides, so a subclass needs a row only to differ.
TABLE: dict[type[errors.HeadstockError], Row] = {
    LimitExceeded: Row(Code.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED"),
    errors.InvalidInput: Row(Code.INVALID_ARGUMENT, "INVALID_INPUT"),
    errors.NotFound: Row(Code.NOT_FOUND, "NOT_FOUND"),
    errors.AlreadyExists: Row(Code.ALREADY_EXISTS, "ALREADY_EXISTS"),
    errors.Conflict: Row(Code.ABORTED, "CONFLICT"),
    errors.LicenceRefused: Row(Code.PERMISSION_DENIED, "LICENCE_REFUSED"),
    errors.FailedPrecondition: Row(Code.FAILED_PRECONDITION, "FAILED_PRECONDITION"),
    errors.PermissionDenied: Row(Code.PERMISSION_DENIED, "PERMISSION_DENIED"),
    errors.DigestMismatch: Row(Code.FAILED_PRECONDITION, "DIGEST_MISMATCH"),
    errors.Corrupt: Row(Code.DATA_LOSS, "CORRUPT"),
    errors.Exhausted: Row(Code.RESOURCE_EXHAUSTED, "EXHAUSTED"),
    errors.Unavailable: Row(Code.UNAVAILABLE, "UNAVAILABLE"),
    errors.DeadlineExceeded: Row(Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
    errors.Unsupported: Row(Code.UNIMPLEMENTED, "UNSUPPORTED"),
}

INTERNAL = Row(Code.INTERNAL, "INTERNAL")

_RETRY_UNAVAILABLE = 0.5


class Failure(NamedTuple):
    """What goes to `context.abort`."""

    code: Code
    message: str
    trailers: tuple[tuple[str, bytes], ...]


def row_of(error: BaseException) -> Row:
    """The table's row for an error."""
    for kind in type(error).__mro__:
        if kind in TABLE:
            return TABLE[kind]
    return INTERNAL


def failure_of(error: BaseException) -> Failure:
    """Code, message and details of an error.

    What is not in the table becomes INTERNAL with an id; the traceback goes to the log under that id and nowhere else.
    The error has none after that: its frames name the request, whose result it is, and the model.
    """
    row = row_of(error)
    metadata: dict[str, str] = {}
    if row is INTERNAL or not isinstance(error, errors.HeadstockError):
        row, metadata["error_id"] = INTERNAL, secrets.token_hex(6)
        log.error("internal error %s", metadata["error_id"], exc_info=error)
        message = f"internal error {metadata['error_id']}; this is a bug, and the server's log has the details"
    else:
        message = _cut(str(error))
        if error.fix:
            metadata["fix"] = _cut(error.fix)
        if isinstance(error, errors.LicenceRefused):
            metadata["proof_id"] = error.proof_id
    drop_frames(error)
    return Failure(row.code, message, ((TRAILER, _details(row, message, metadata, _retry_after(error))),))


def _cut(text: str) -> str:
    text = text[:_LONGEST]
    return text if text.isascii() else text.encode(errors="replace")[:_LONGEST_ENCODED].decode(errors="ignore")


def _retry_after(error: BaseException) -> float | None:
    if isinstance(error, errors.Exhausted):
        return error.retry_after
    return _RETRY_UNAVAILABLE if isinstance(error, errors.Unavailable) else None


def _details(row: Row, message: str, metadata: dict[str, str], retry_after: float | None) -> bytes:
    status = status_pb2.Status(code=row.code.value[0], message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=row.reason, domain=DOMAIN, metadata=metadata))
    if retry_after is not None:
        info = error_details_pb2.RetryInfo()
        info.retry_delay.FromNanoseconds(int(retry_after * 1e9))
        status.details.add().Pack(info)
    serialized: bytes = status.SerializeToString()
    return serialized
