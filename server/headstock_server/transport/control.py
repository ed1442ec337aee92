"""The protocol's RPCs for operators: loading and unloading, traces, logs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from headstock.errors import InvalidInput, Unsupported
from headstock.oip import open_inference_grpc_pb2 as pb
from headstock_server.dataplane.log_settings import LogControl, Value
from headstock_server.dataplane.trace import Tracer
from headstock_server.dataplane.zoo import ZooPlane
from headstock_server.transport.calls import Handler, unary


def check_repository(name: str) -> None:
    """Raise `Unsupported` if a repository is named: there is one, the catalogue, and it has no name."""
    if name:
        raise Unsupported(f"repository_name {name[:80]!r} is not supported; expected ''")


class ControlHandlers:
    """Handlers of what changes a running server. Reading settings is free, changing them needs the permission."""

    def __init__(self, tracer: Tracer, zoo: ZooPlane, log: LogControl) -> None:
        """`zoo` knows whether changes are allowed."""
        self._tracer = tracer
        self._zoo = zoo
        self._log = log

    @property
    def allowed(self) -> bool:
        """True if callers may change things."""
        return self._zoo.allowed

    def handlers(self) -> dict[str, Handler]:
        """Every RPC of this kind by name."""
        return {
            "RepositoryModelLoad": unary(pb.RepositoryModelLoadRequest.FromString, self.load),
            "RepositoryModelUnload": unary(pb.RepositoryModelUnloadRequest.FromString, self.unload),
            "TraceSetting": unary(pb.TraceSettingRequest.FromString, self.trace_setting),
            "LogSettings": unary(pb.LogSettingsRequest.FromString, self.log_settings),
        }

    async def load(self, request: pb.RepositoryModelLoadRequest) -> pb.RepositoryModelLoadResponse:
        """Answers when the model answers; a failure leaves what was served before."""
        check_repository(request.repository_name)
        self._zoo.check_allowed(f"loading {request.model_name[:80]!r}")
        if request.parameters:
            raise Unsupported(
                f"parameter {next(iter(request.parameters))[:80]!r} of a load is not supported: models come from the "
                "catalogue as they were published"
            )
        await self._zoo.load(request.model_name)
        return pb.RepositoryModelLoadResponse()

    async def unload(self, request: pb.RepositoryModelUnloadRequest) -> pb.RepositoryModelUnloadResponse:
        """The model is not ready from now on; nothing depends on a model, so `unload_dependents` changes nothing."""
        check_repository(request.repository_name)
        self._zoo.check_allowed(f"unloading {request.model_name[:80]!r}")
        for key, value in request.parameters.items():
            if key != "unload_dependents" or value.WhichOneof("parameter_choice") != "bool_param":
                raise InvalidInput(
                    f"parameter {key[:80]!r} of an unload is not known, or not of its type; "
                    "expected 'unload_dependents', true or false"
                )
        await self._zoo.unload(request.model_name)
        return pb.RepositoryModelUnloadResponse()

    async def trace_setting(self, request: pb.TraceSettingRequest) -> pb.TraceSettingResponse:
        """The settings after the changes; a setting without a value is taken back to what holds without it."""
        model = request.model_name
        if model:
            await self._zoo.exists(model)
        settings = self._tracer.settings(model)
        if request.settings:
            self._zoo.check_allowed("setting traces")
            settings = self._tracer.update(_trace_changes(request.settings), model)
        response = pb.TraceSettingResponse()
        for name, value in asdict(settings).items():
            response.settings[name].value.append(str(value))
        return response

    async def log_settings(self, request: pb.LogSettingsRequest) -> pb.LogSettingsResponse:
        """The settings after the changes."""
        if request.settings:
            self._zoo.check_allowed("setting the log")
            self._log.update({name: _log_value(value) for name, value in request.settings.items()})
        response = pb.LogSettingsResponse()
        for name, value in self._log.settings().items():
            field = response.settings[name]
            if isinstance(value, bool):
                field.bool_param = value
            elif isinstance(value, int):
                field.uint32_param = value
            else:
                field.string_param = value
        return response


def _trace_changes(settings: Mapping[str, pb.TraceSettingRequest.SettingValue]) -> dict[str, str | None]:
    for name, setting in settings.items():
        if len(setting.value) > 1:
            raise InvalidInput(f"trace setting {name[:80]!r} has {len(setting.value)} values; expected one or none")
    return {name: setting.value[0] if setting.value else None for name, setting in settings.items()}


def _log_value(setting: pb.LogSettingsRequest.SettingValue) -> Value | None:
    choice = setting.WhichOneof("parameter_choice")
    if choice is None:
        return None
    value: Value = getattr(setting, choice)
    return value
