"""The service `headstock.v1.Zoo`: what the Open Inference Protocol has no word for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import grpc

from headstock.catalogue.views import AliasChange, Event
from headstock.errors import InvalidInput, NotFound
from headstock.names import Reference
from headstock.v1 import zoo_pb2 as pb
from headstock_server.dataplane.infer import DataPlane
from headstock_server.dataplane.shown import Wanted
from headstock_server.dataplane.zoo import ZooPlane
from headstock_server.transport import describe_provenance, describe_zoo
from headstock_server.transport.calls import Context, Handler, parsed, refuse, unary, unary_for_tenant

SERVICE = "headstock.v1.Zoo"

_REASON = 1000
"""Characters of a reason: it stays in the catalogue for good."""


class ZooService:
    """Handlers of `headstock.v1.Zoo` over a data plane and the catalogue's."""

    def __init__(self, plane: DataPlane, zoo: ZooPlane) -> None:
        """Answer from `plane` what was served, from `zoo` what there is."""
        self._plane = plane
        self._zoo = zoo

    def handlers(self) -> dict[str, Handler]:
        """Every RPC of the service by name."""
        return {
            "List": unary_for_tenant(pb.ListRequest.FromString, self.list),
            "Show": unary(pb.ShowRequest.FromString, self.show),
            "Lineage": unary(pb.LineageRequest.FromString, self.lineage),
            "Provenance": unary_for_tenant(pb.ProvenanceRequest.FromString, self.provenance),
            "Watch": grpc.unary_stream_rpc_method_handler(self.watch),
            "Promote": unary(pb.PromoteRequest.FromString, self.promote),
            "Rollback": unary(pb.RollbackRequest.FromString, self.rollback),
            "Load": unary(pb.LoadRequest.FromString, self.load),
            "Unload": unary(pb.UnloadRequest.FromString, self.unload),
            "BackboneStatistics": unary(pb.BackboneStatisticsRequest.FromString, self.backbone_statistics),
        }

    # ------------------------------------------------------------------------------------------ reads
    async def list(self, request: pb.ListRequest, tenant: str) -> pb.ListResponse:
        """Every version that is wanted, with its state here and the verdict on the caller's use."""
        shown = await self._zoo.entries(Wanted(request.kind, request.may, request.backbone), tenant)
        return pb.ListResponse(entries=map(describe_zoo.entry, shown))

    async def show(self, request: pb.ShowRequest) -> pb.ShowResponse:
        """Identity, digests, licence statements, metrics."""
        return describe_zoo.version(await self._zoo.show(_reference(request.name, request.version)))

    async def lineage(self, request: pb.LineageRequest) -> pb.LineageResponse:
        """The tree of what it was made from."""
        description = await self._zoo.show(_reference(request.name, request.version))
        return pb.LineageResponse(root=describe_zoo.node(description["lineage"]))

    async def provenance(self, request: pb.ProvenanceRequest, tenant: str) -> pb.ProvenanceResponse:
        """Lineage, licences, verdicts with their proofs, duties, signature."""
        told = await self._zoo.provenance(_reference(request.name, request.version), tenant)
        return describe_provenance.response(told)

    async def watch(self, data: bytes, context: Context) -> AsyncIterator[bytes]:
        """The newest event's number, then every event."""
        try:
            request = parsed(pb.WatchRequest.FromString, data)
            after = request.after if request.HasField("after") else None
            async with aclosing(self._zoo.watch(after)) as items:
                async for item in items:
                    yield _watched(item).SerializeToString()
        except Exception as error:
            await refuse(context, error)

    # ------------------------------------------------------------------------------------------ changes
    async def promote(self, request: pb.PromoteRequest) -> pb.PromoteResponse:
        """Move an alias to a version."""
        change = await self._zoo.promote(
            _reference(request.name, request.version), request.alias, _reason(request.reason)
        )
        return pb.PromoteResponse(change=_change(change))

    async def rollback(self, request: pb.RollbackRequest) -> pb.RollbackResponse:
        """Move an alias back."""
        change = await self._zoo.rollback(request.name, request.alias, _reason(request.reason))
        return pb.RollbackResponse(change=_change(change))

    async def load(self, request: pb.LoadRequest) -> pb.LoadResponse:
        """Load a name."""
        return pb.LoadResponse(versions=await self._zoo.load(request.name))

    async def unload(self, request: pb.UnloadRequest) -> pb.UnloadResponse:
        """Unload a name."""
        await self._zoo.unload(request.name)
        return pb.UnloadResponse()

    async def backbone_statistics(self, request: pb.BackboneStatisticsRequest) -> pb.BackboneStatisticsResponse:
        """One backbone, or all that are loaded."""
        reports = self._plane.backbone_reports()
        if request.backbone:
            reports = [r for r in reports if r.digest == request.backbone]
            if not reports:
                raise NotFound(
                    f"backbone {request.backbone[:80]!r} is not loaded; expected the digest of one that is, or ''"
                )
        response = pb.BackboneStatisticsResponse()
        for report in reports:
            response.backbones.add(
                backbone=report.digest,
                device=report.device,
                passes=report.passes,
                mixed_passes=report.mixed_passes,
                rows=report.rows,
                rows_reused=report.rows_reused,
                requests=report.requests,
                tokens_real=report.tokens_real,
                tokens_padded=report.tokens_padded,
                queued_rows=report.queued_rows,
                adapters=report.adapters,
                adapters_held=report.adapters_held,
            )
        return response


def _reference(name: str, version: str) -> Reference:
    if ":" in name:
        raise InvalidInput(f"name {name[:80]!r} holds a colon; expected the name alone, and the version beside it")
    return Reference.parse(f"{name}:{version}" if version else name)


def _reason(reason: str) -> str:
    if len(reason) > _REASON or not reason.isprintable():
        raise InvalidInput(f"the reason has {len(reason)} characters; expected at most {_REASON}, all printable")
    return reason


def _change(change: AliasChange) -> pb.AliasChange:
    return describe_zoo.alias_change(change)


def _watched(item: Event | int) -> pb.WatchResponse:
    if isinstance(item, int):
        return pb.WatchResponse(start=item)
    return pb.WatchResponse(event=describe_zoo.event(item))
