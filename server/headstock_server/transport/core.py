"""The part of grpcio that its `grpc.server`, written in Python, stands on: gRPC's C core, one call at a time.

It is not grpcio's public face, so `missing` says what of it a version lacks; a server then takes `grpc.aio` instead.
"""

from __future__ import annotations

import importlib
from typing import Any, TypeAlias

cygrpc: Any
try:
    cygrpc = importlib.import_module("grpc._cython.cygrpc")
except ImportError:
    cygrpc = None

Event: TypeAlias = Any
"""A `cygrpc.BaseEvent`."""

_NEEDED = (
    "Call.start_server_batch",
    "CompletionQueue.poll",
    "CompletionQueue.shutdown",
    "CompletionType.queue_shutdown",
    "ReceiveCloseOnServerOperation.cancelled",
    "ReceiveMessageOperation.message",
    "SendInitialMetadataOperation",
    "SendMessageOperation",
    "SendStatusFromServerOperation",
    "Server.add_http2_port",
    "Server.cancel_all_calls",
    "Server.register_completion_queue",
    "Server.request_call",
    "Server.shutdown",
    "Server.start",
)


def missing() -> list[str]:
    """What this grpcio does not have of all that is used here."""
    return [path for path in _NEEDED if not _has(cygrpc, path.split("."))]


def _has(found: Any, names: list[str]) -> bool:
    for name in names:
        if not hasattr(found, name):
            return False
        found = getattr(found, name)
    return True
