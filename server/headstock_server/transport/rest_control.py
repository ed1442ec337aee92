"""HTTP routes for operators: statistics, what is loaded, traces and logs, by the handlers of the gRPC methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from headstock.errors import InvalidInput, PermissionDenied
from headstock.oip import open_inference_grpc_pb2 as pb
from headstock_server.dataplane.infer import DataPlane
from headstock_server.transport import describe
from headstock_server.transport.control import ControlHandlers
from headstock_server.transport.rest_endpoint import body_of, endpoint, model_of, parsed_json
from headstock_server.transport.tenant import tenant_of

_SMALL = 64 * 1024
"""Bytes of the largest body: names and flags."""


class ControlRoutes:
    """The protocol's extensions `statistics`, `model_repository`, `trace` and `logging`."""

    def __init__(self, plane: DataPlane, control: ControlHandlers) -> None:
        """Figures come from `plane`; `control` knows what is allowed."""
        self._plane = plane
        self._control = control

    def routes(self) -> list[Route]:
        """They go before the routes that take any name: `stats` is no model here."""
        both = ["GET", "POST"]
        return [
            Route("/v2/models/stats", endpoint(self.statistics)),
            Route("/v2/models/{name}/stats", endpoint(self.statistics)),
            Route("/v2/models/{name}/versions/{version}/stats", endpoint(self.statistics)),
            Route("/v2/repository/index", endpoint(self.index), methods=["POST"]),
            Route("/v2/repository/models/{name}/load", endpoint(self.load), methods=["POST"]),
            Route("/v2/repository/models/{name}/unload", endpoint(self.unload), methods=["POST"]),
            Route("/v2/trace/setting", endpoint(self.trace), methods=both),
            Route("/v2/models/{name}/trace/setting", endpoint(self.trace), methods=both),
            Route("/v2/logging", endpoint(self.logging), methods=both),
        ]

    async def statistics(self, request: Request) -> Response:
        """One version, all versions of a name, or everything with the backbones."""
        name, version = model_of(request) if "name" in request.path_params else ("", "")
        models = await self._plane.model_reports(name, version)
        message = describe.statistics(models, () if name else self._plane.backbone_reports())
        return JSONResponse(_numbers(MessageToDict(message, preserving_proto_field_name=True)))

    async def index(self, request: Request) -> Response:
        """Models and their state for the caller; `ready` leaves out the others."""
        wanted = await _document(request, {"ready": bool})
        rows = await self._plane.index(tenant_of(request.headers.items()))
        shown = [row for row in rows if row.state == "READY" or not wanted.get("ready")]
        return JSONResponse([
            {"name": row.name, "version": str(row.version), "state": row.state, "reason": row.reason} for row in shown
        ])  # fmt: skip

    async def load(self, request: Request) -> Response:
        """Answers when the model answers."""
        message = pb.RepositoryModelLoadRequest(model_name=model_of(request)[0])
        _parameters(message, await _change(request, {"parameters": dict}))
        await self._control.load(message)
        return Response()

    async def unload(self, request: Request) -> Response:
        """The model is not ready from now on."""
        message = pb.RepositoryModelUnloadRequest(model_name=model_of(request)[0])
        _parameters(message, await _change(request, {"parameters": dict}))
        await self._control.unload(message)
        return Response()

    async def trace(self, request: Request) -> Response:
        """The settings, after the changes of a POST; null takes a setting back to what holds without it."""
        message = pb.TraceSettingRequest(model_name=request.path_params.get("name", ""))
        if request.method == "POST":
            for name, value in (await _change(request)).items():
                values = value if isinstance(value, list) else [] if value is None else [value]
                message.settings[name].value.extend(str(item) for item in values)
        settings = (await self._control.trace_setting(message)).settings
        levels = {"trace_level": list(settings["trace_level"].value)}
        return JSONResponse({name: setting.value[0] for name, setting in settings.items()} | levels)

    async def logging(self, request: Request) -> Response:
        """The settings, after the changes of a POST."""
        message = pb.LogSettingsRequest()
        if request.method == "POST":
            for name, value in (await _change(request)).items():
                _log_value(message.settings[name], name, value)
        settings = (await self._control.log_settings(message)).settings
        return JSONResponse({n: getattr(v, str(v.WhichOneof("parameter_choice"))) for n, v in settings.items()})


async def _change(request: Request, known: Mapping[str, type] | None = None) -> dict[str, Any]:
    """The body of a request that changes something; raises `PermissionDenied` for one that a web page sent."""
    if "origin" in request.headers:
        raise PermissionDenied("a page in a browser may not change what this server does; call it from a program")
    return await _document(request, known)


async def _document(request: Request, known: Mapping[str, type] | None = None) -> dict[str, Any]:
    """The JSON object in the body, empty for no body; `known` are the only keys, with their types."""
    data = await body_of(request, _SMALL)
    try:
        document = parsed_json(data) if data.strip() else {}
    except ValueError:
        raise InvalidInput("the body is not JSON") from None
    if not isinstance(document, dict):
        raise InvalidInput("the body is not a JSON object")
    for key, value in document.items():
        if known is not None and not (key in known and isinstance(value, known[key])):
            raise InvalidInput(f"{key[:80]!r} is not known, or not of its type; expected any of {list(known)}")
    return document


def _parameters(
    message: pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest, document: Mapping[str, Any]
) -> None:
    for key, value in document.get("parameters", {}).items():
        if isinstance(value, bool):
            message.parameters[key].bool_param = value
        else:
            message.parameters[key].string_param = str(value)


def _log_value(setting: pb.LogSettingsRequest.SettingValue, name: str, value: object) -> None:
    if isinstance(value, bool):
        setting.bool_param = value
    elif isinstance(value, int) and 0 <= value < 2**32:
        setting.uint32_param = value
    elif isinstance(value, str):
        setting.string_param = value
    elif value is not None:
        raise InvalidInput(f"log setting {name[:80]!r} is {str(value)[:80]!r}; expected true, false, a number or text")


def _numbers(value: Any, key: str = "") -> Any:
    """Protobuf's JSON writes 64-bit integers as strings; this protocol's does not."""
    if isinstance(value, dict):
        return {name: _numbers(part, name) for name, part in value.items()}
    if isinstance(value, list):
        return [_numbers(part, key) for part in value]
    return int(value) if key not in ("name", "version") and isinstance(value, str) else value
