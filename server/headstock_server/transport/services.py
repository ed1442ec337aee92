"""Every gRPC service of the server, as handlers of raw bytes: who carries the bytes is not their business."""

from __future__ import annotations

from headstock_server.dataplane.infer import DataPlane
from headstock_server.dataplane.log_settings import LogControl
from headstock_server.dataplane.zoo import ZooPlane
from headstock_server.transport import health, oip, zoo
from headstock_server.transport.calls import Handler
from headstock_server.transport.health import HealthService
from headstock_server.transport.oip import InferenceService
from headstock_server.transport.reflection import ALPHA, STABLE, ReflectionService
from headstock_server.transport.zoo import ZooService

_SERVICES = (oip.SERVICE, zoo.SERVICE, health.SERVICE)


def services(plane: DataPlane, catalogue: ZooPlane, log: LogControl) -> dict[str, dict[str, Handler]]:
    """Handlers by service and method, over one data plane and the catalogue behind it."""

    def status(service: str) -> bool | None:
        if service == "" or service in (*_SERVICES, ALPHA, STABLE):
            return not plane.draining
        return plane.known(service)

    reflection = ReflectionService(_SERVICES).handlers()
    return {
        oip.SERVICE: InferenceService(plane, catalogue, log).handlers(),
        zoo.SERVICE: ZooService(plane, catalogue).handlers(),
        health.SERVICE: HealthService(status).handlers(),
        ALPHA: reflection,
        STABLE: reflection,
    }
