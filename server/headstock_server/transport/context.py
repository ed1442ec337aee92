"""What our handlers use of a gRPC context, for calls that something else than grpc.aio carries."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NoReturn, TypeAlias

import grpc

Metadata: TypeAlias = Sequence[tuple[str, "str | bytes"]]


class Aborted(Exception):
    """A handler ended its call; carries the status."""

    def __init__(self, code: grpc.StatusCode, details: str, metadata: Metadata) -> None:
        """`metadata` goes out behind the status."""
        super().__init__(details)
        self.code = code
        self.details = details
        self.metadata = metadata


class CallContext:
    """One call, as its handler sees it."""

    __slots__ = ("_deadline", "_metadata", "trailing")

    def __init__(self, metadata: Metadata, remaining: float | None) -> None:
        """`remaining` is in seconds; None has no deadline."""
        self._metadata = metadata
        self._deadline = None if remaining is None else time.monotonic() + remaining
        self.trailing: Metadata = ()

    def invocation_metadata(self) -> Metadata:
        """What the caller sent."""
        return self._metadata

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def set_trailing_metadata(self, metadata: Metadata) -> None:
        """Sent with the status."""
        self.trailing = metadata

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        """End the call with `code`."""
        raise Aborted(code, details, trailing_metadata)
