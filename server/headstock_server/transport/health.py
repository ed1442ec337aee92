"""grpc.health.v1 for the server, its services and each model by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import grpc
from grpc_health.v1 import health_pb2

from headstock.errors import NotFound
from headstock_server.transport.calls import Context, Handler, parsed, refuse

SERVICE = "grpc.health.v1.Health"

Status = health_pb2.HealthCheckResponse

_POLL = 0.1


class HealthService:
    """Asks `status` (service name to a status, or None if unknown) at each check, so nothing can be out of date."""

    def __init__(self, status: Callable[[str], bool | None]) -> None:
        """`status("")` is the whole server; True serves, False does not, None is unknown."""
        self._status = status

    def handlers(self) -> dict[str, Handler]:
        """Check and Watch."""
        return {
            "Check": grpc.unary_unary_rpc_method_handler(self.check),
            "Watch": grpc.unary_stream_rpc_method_handler(self.watch),
        }

    async def check(self, data: bytes, context: Context) -> bytes:
        """NOT_FOUND for an unknown name, as the health protocol wants it."""
        try:
            service = _service(data)
            serving = self._status(service)
            if serving is None:
                raise NotFound(f"{service[:80]!r} is neither a service nor a loaded model")
        except Exception as error:
            await refuse(context, error)
        return self._encoded(serving)

    async def watch(self, data: bytes, context: Context) -> AsyncIterator[bytes]:
        """The status now and after each change, until the caller leaves; an unknown name may appear later."""
        try:
            service = _service(data)
        except Exception as error:
            await refuse(context, error)
        last = b""
        while True:
            current = self._encoded(self._status(service))
            if current != last:
                last = current
                yield current
            await asyncio.sleep(_POLL)

    @staticmethod
    def _encoded(serving: bool | None) -> bytes:
        status = {True: Status.SERVING, False: Status.NOT_SERVING, None: Status.SERVICE_UNKNOWN}[serving]
        data: bytes = Status(status=status).SerializeToString()
        return data


def _service(data: bytes) -> str:
    service: str = parsed(health_pb2.HealthCheckRequest.FromString, data).service
    return service
