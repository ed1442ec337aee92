"""The service `headstock.v1.Zoo`: what the Open Inference Protocol has no word for."""

from __future__ import annotations

from headstock.errors import NotFound
from headstock.v1 import zoo_pb2 as pb
from headstock_server.dataplane.infer import DataPlane
from headstock_server.transport.calls import Handler, unary

SERVICE = "headstock.v1.Zoo"


class ZooService:
    """Handlers of `headstock.v1.Zoo` over a data plane."""

    def __init__(self, plane: DataPlane) -> None:
        """Answer from `plane`."""
        self._plane = plane

    def handlers(self) -> dict[str, Handler]:
        """Every RPC of the service by name."""
        return {"BackboneStatistics": unary(pb.BackboneStatisticsRequest.FromString, self.backbone_statistics)}

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
                requests=report.requests,
                tokens_real=report.tokens_real,
                tokens_padded=report.tokens_padded,
                queued_rows=report.queued_rows,
            )
        return response
