"""HTTP: the protocol's REST form over the same data plane, on a port of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import uvicorn
from google.protobuf.json_format import MessageToDict
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from headstock import __version__
from headstock.errors import FailedPrecondition, InvalidInput
from headstock.oip import open_inference_grpc_pb2 as pb
from headstock_server.dataplane.infer import DataPlane
from headstock_server.dataplane.messages import InferResponse
from headstock_server.transport import describe, rest_codec
from headstock_server.transport.codec import LICENCE_WARNING
from headstock_server.transport.control import ControlHandlers
from headstock_server.transport.rest_control import ControlRoutes
from headstock_server.transport.rest_endpoint import body_of, endpoint, model_of
from headstock_server.transport.tenant import tenant_of

_HEADER = "Inference-Header-Content-Length"
_CONNECTIONS = 1024


class RestServer:
    """Serves one data plane over HTTP, in the event loop that calls it."""

    def __init__(self, plane: DataPlane, control: ControlHandlers) -> None:
        """Answer from `plane`, and what operators ask through `control`. Nothing listens until `start`."""
        self._plane = plane
        self._control = control
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, address: str) -> int:
        """Listen on `HOST:PORT`; returns the real port. Raises `FailedPrecondition` if it is taken."""
        listener = _listen(address)
        config = uvicorn.Config(
            application(self._plane, self._control),
            # The loop is ours, one request a line is the log's verbose level, and nobody opens web sockets.
            loop="none",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started and not self._task.done():
            await asyncio.sleep(0.005)
        real: int = listener.getsockname()[1]
        return real

    async def stop(self) -> None:
        """Take no new connections and end the idle ones."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    if address.startswith("unix:"):
        raise InvalidInput(f"HTTP address {address!r} is not HOST:PORT", fix="--http 127.0.0.1:8080")
    host = host.strip("[]")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
    except OSError:
        listener.close()
        raise FailedPrecondition(
            f"cannot listen on {address!r}: the port is taken or the address is not of this machine",
            fix="--http 127.0.0.1:0 takes any free one",
        ) from None
    return listener


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the program that runs both transports."""
        yield


def application(plane: DataPlane, control: ControlHandlers) -> Starlette:
    """The routes of protocol version 2, with the extensions for operators before those that take any name."""
    handlers = _Handlers(plane, describe.extensions(admin=control.allowed, trace=plane.tracer.possible))
    routes = [
        *ControlRoutes(plane, control).routes(),
        Route("/v2", endpoint(handlers.server)),
        Route("/v2/health/live", endpoint(handlers.live)),
        Route("/v2/health/ready", endpoint(handlers.ready)),
    ]
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        routes += [
            Route(path, endpoint(handlers.model)),
            Route(f"{path}/ready", endpoint(handlers.model_ready)),
            Route(f"{path}/config", endpoint(handlers.config)),
            Route(f"{path}/infer", endpoint(handlers.infer), methods=["POST"]),
        ]
    return Starlette(routes=routes)


class _Handlers:
    def __init__(self, plane: DataPlane, extensions: Sequence[str]) -> None:
        self._plane = plane
        self._extensions = extensions

    async def server(self, _: Request) -> Response:
        return JSONResponse({"name": "headstock", "version": __version__, "extensions": list(self._extensions)})

    async def live(self, _: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(self, _: Request) -> Response:
        ready = not self._plane.draining
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    async def model_ready(self, request: Request) -> Response:
        name, version = model_of(request)
        ready = self._plane.ready(name, version, tenant_of(request.headers.items()))
        return JSONResponse({"name": name, "ready": ready}, 200 if ready else 503)

    async def model(self, request: Request) -> Response:
        metadata = describe.metadata(await self._plane.describe(*model_of(request), tenant_of(request.headers.items())))
        return JSONResponse({
            "name": metadata.name,
            "versions": list(metadata.versions),
            "platform": metadata.platform,
            "inputs": [_tensor(t) for t in metadata.inputs],
            "outputs": [_tensor(t) for t in metadata.outputs],
            "properties": dict(metadata.properties),
        })  # fmt: skip

    async def config(self, request: Request) -> Response:
        description = await self._plane.describe(*model_of(request), tenant_of(request.headers.items()))
        message = describe.config(description, self._plane.limits, cached=self._plane.cache is not None)
        document = MessageToDict(message, preserving_proto_field_name=True)
        for tensor in (*document.get("input", ()), *document.get("output", ())):
            # Protobuf's JSON writes 64-bit integers as strings; this protocol's does not.
            tensor["dims"] = [int(size) for size in tensor.get("dims", ())]
        return JSONResponse(document)

    async def infer(self, request: Request) -> Response:
        header = request.headers.get(_HEADER)
        if header is not None and not (header.isascii() and header.isdigit() and len(header) < 12):
            raise InvalidInput(f"{_HEADER} is {header[:40]!r}; expected how many bytes of the body are JSON")
        body = await body_of(request, self._plane.limits.message_bytes)
        wanted, form = rest_codec.decode(
            body, None if header is None else int(header), *model_of(request), self._plane.limits
        )
        wanted.tenant = tenant_of(request.headers.items())
        response = await _while_connected(request, self._plane.infer(wanted))
        data, json_size = rest_codec.encode(response, form)
        headers = {LICENCE_WARNING: response.licence_warning} if response.licence_warning else {}
        if json_size is None:
            return Response(data, headers=headers, media_type="application/json")
        headers[_HEADER] = str(json_size)
        return Response(data, headers=headers, media_type="application/octet-stream")


def _tensor(tensor: pb.ModelMetadataResponse.TensorMetadata) -> dict[str, object]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


async def _while_connected(request: Request, work: Coroutine[Any, Any, InferResponse]) -> InferResponse:
    """The answer; a caller that leaves takes its rows with it."""
    answer = asyncio.create_task(work)
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientDisconnect
        return answer.result()
    finally:
        answer.cancel()
        gone.cancel()
