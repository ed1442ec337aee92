"""The gRPC server: which services, which channel limits, how it starts and how it ends."""

from __future__ import annotations

import grpc

from headstock.errors import FailedPrecondition
from headstock_server.dataplane.infer import DataPlane
from headstock_server.dataplane.limits import MIB, Limits
from headstock_server.dataplane.log_settings import LogControl
from headstock_server.dataplane.zoo import ZooPlane
from headstock_server.transport import health, oip, zoo
from headstock_server.transport.health import HealthService
from headstock_server.transport.oip import InferenceService
from headstock_server.transport.reflection import ALPHA, STABLE, ReflectionService
from headstock_server.transport.zoo import ZooService

_CONCURRENT_RPCS = 4096
_SERVICES = (oip.SERVICE, zoo.SERVICE, health.SERVICE)


class GrpcServer:
    """Serves one data plane, and the catalogue behind it, on one port."""

    def __init__(self, plane: DataPlane, catalogue: ZooPlane, log: LogControl) -> None:
        """Nothing listens until `start`."""
        self._plane = plane
        self._server = grpc.aio.server(options=channel_options(plane.limits), maximum_concurrent_rpcs=_CONCURRENT_RPCS)
        reflection = ReflectionService(_SERVICES).handlers()
        services = {
            oip.SERVICE: InferenceService(plane, catalogue, log).handlers(),
            zoo.SERVICE: ZooService(plane, catalogue).handlers(),
            health.SERVICE: HealthService(self._status).handlers(),
            ALPHA: reflection,
            STABLE: reflection,
        }
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(name, handlers) for name, handlers in services.items()]
        )

    async def start(self, address: str) -> int:
        """Listen on `HOST:PORT`; returns the real port, also where 0 was asked for."""
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError:
            raise FailedPrecondition(
                f"cannot listen on {address!r}: the port is taken or the address is not of this machine",
                fix="--bind 127.0.0.1:0 takes any free port",
            ) from None
        await self._server.start()
        return port

    async def stop(self, grace: float) -> None:
        """Refuse new calls, give running ones `grace` seconds."""
        await self._server.stop(grace)

    def _status(self, service: str) -> bool | None:
        if service == "" or service in (*_SERVICES, ALPHA, STABLE):
            return not self._plane.draining
        return self._plane.known(service)


def channel_options(limits: Limits) -> list[tuple[str, int]]:
    """Limits that hold before any of our code sees a byte."""
    return [
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_send_message_length", 4 * limits.message_bytes),
        # Bit 0 is "identity": a compressed message would be a bomb that is counted only after it went off.
        ("grpc.compression_enabled_algorithms_bitset", 1),
        ("grpc.max_concurrent_streams", 1024),
        ("grpc.max_metadata_size", MIB // 64),
        # Two servers on one port would each get half of the calls without a word.
        ("grpc.so_reuseport", 0),
        ("grpc.max_connection_age_ms", 30 * 60_000),
        ("grpc.max_connection_age_grace_ms", 60_000),
        ("grpc.keepalive_time_ms", 120_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]
