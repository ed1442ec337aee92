"""The Open Inference Protocol service: one small method per RPC, each handing over to the data plane."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import grpc

from headstock import __version__
from headstock.oip import open_inference_grpc_pb2 as pb
from headstock_server.dataplane.infer import DataPlane
from headstock_server.dataplane.log_settings import LogControl
from headstock_server.dataplane.zoo import ZooPlane
from headstock_server.transport import describe
from headstock_server.transport.calls import Context, Handler, answer_by, refuse, unary, unary_for_tenant, unimplemented
from headstock_server.transport.codec import decode_request, encode_response, licence_trailer
from headstock_server.transport.control import ControlHandlers, check_repository
from headstock_server.transport.stream import Stream
from headstock_server.transport.tenant import tenant_of

SERVICE = "inference.GRPCInferenceService"

_SHARED_MEMORY = "memory named by clients is a way into the server's address space; send raw contents"


class InferenceService:
    """Handlers of `inference.GRPCInferenceService` over a data plane."""

    def __init__(self, plane: DataPlane, zoo: ZooPlane, log: LogControl) -> None:
        """Answer from `plane`; what operators change goes to `zoo` and `log`."""
        self._plane = plane
        self._zoo = zoo
        self._control = ControlHandlers(plane.tracer, zoo, log)

    def handlers(self) -> dict[str, Handler]:
        """Every RPC of the service by name; those that do not work say why."""
        table = {
            "ModelInfer": grpc.unary_unary_rpc_method_handler(self.model_infer),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(self.model_stream_infer),
            "ServerLive": unary(pb.ServerLiveRequest.FromString, self.server_live),
            "ServerReady": unary(pb.ServerReadyRequest.FromString, self.server_ready),
            "ModelReady": unary_for_tenant(pb.ModelReadyRequest.FromString, self.model_ready),
            "ServerMetadata": unary(pb.ServerMetadataRequest.FromString, self.server_metadata),
            "ModelMetadata": unary_for_tenant(pb.ModelMetadataRequest.FromString, self.model_metadata),
            "ModelConfig": unary_for_tenant(pb.ModelConfigRequest.FromString, self.model_config),
            "ModelStatistics": unary(pb.ModelStatisticsRequest.FromString, self.model_statistics),
            "RepositoryIndex": unary_for_tenant(pb.RepositoryIndexRequest.FromString, self.repository_index),
            **self._control.handlers(),
        }
        for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods:
            if method.name not in table:
                table[method.name] = unimplemented(method.name, _SHARED_MEMORY)
        return table

    async def model_infer(self, data: bytes, context: Context) -> bytes:
        """The hot path: no logging, no copies of tensors, one future."""
        try:
            request = decode_request(data, self._plane.limits)
            request.deadline = answer_by(context)
            request.tenant = tenant_of(context.invocation_metadata())
            response = await self._plane.infer(request)
            if response.licence_warning:
                context.set_trailing_metadata(licence_trailer(response.licence_warning))
            return encode_response(response)
        except Exception as error:
            await refuse(context, error)

    async def model_stream_infer(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        """Many requests on one call, answered in order; their rows share passes with everybody's."""
        async with aclosing(Stream(self._plane, requests, context).answers()) as answers:
            async for answer in answers:
                yield answer

    async def server_live(self, _: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
        """Whoever reads this lives."""
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, _: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
        """False while draining."""
        return pb.ServerReadyResponse(ready=not self._plane.draining)

    async def model_ready(self, request: pb.ModelReadyRequest, tenant: str) -> pb.ModelReadyResponse:
        """True if the model is loaded and may be used by the caller; asking loads nothing."""
        return pb.ModelReadyResponse(ready=self._plane.ready(request.name, request.version, tenant))

    async def server_metadata(self, _: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
        """Name, version, extensions that work."""
        extensions = describe.extensions(admin=self._zoo.allowed, trace=self._plane.tracer.possible)
        return pb.ServerMetadataResponse(name="headstock", version=__version__, extensions=extensions)

    async def model_metadata(self, request: pb.ModelMetadataRequest, tenant: str) -> pb.ModelMetadataResponse:
        """Loads the model if need be."""
        return describe.metadata(await self._plane.describe(request.name, request.version, tenant))

    async def model_config(self, request: pb.ModelConfigRequest, tenant: str) -> pb.ModelConfigResponse:
        """Loads the model if need be."""
        plane = self._plane
        description = await plane.describe(request.name, request.version, tenant)
        config = describe.config(description, plane.limits, cached=plane.cache is not None)
        return pb.ModelConfigResponse(config=config)

    async def model_statistics(self, request: pb.ModelStatisticsRequest) -> pb.ModelStatisticsResponse:
        """One model version, all versions of a name, or everything with the backbones."""
        models = await self._plane.model_reports(request.name, request.version)
        return describe.statistics(models, () if request.name else self._plane.backbone_reports())

    async def repository_index(self, request: pb.RepositoryIndexRequest, tenant: str) -> pb.RepositoryIndexResponse:
        """Models and their state for the caller; `ready` leaves out the others."""
        check_repository(request.repository_name)
        response = pb.RepositoryIndexResponse()
        for row in await self._plane.index(tenant):
            if row.state == "READY" or not request.ready:
                response.models.add(name=row.name, version=str(row.version), state=row.state, reason=row.reason)
        return response
