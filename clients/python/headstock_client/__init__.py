"""Light client for a Headstock server, or any other that speaks the Open Inference Protocol over gRPC.

It needs grpcio, protobuf and numpy, and nothing of the zoo but its generated messages.

    with Client("127.0.0.1:8081") as client:
        for answer in client.classify("sentiment", ["great, thanks", "still broken"]):
            print(answer.label, answer.score)
"""

from headstock_client.aio import AsyncClient
from headstock_client.client import Client
from headstock_client.errors import (
    ClientError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    ServerError,
    Unavailable,
    Unsupported,
)
from headstock_client.items import Item
from headstock_client.provenance import (
    Artefact,
    LicenceVerdict,
    LineageEdge,
    Obligation,
    Plugin,
    Provenance,
    Ruling,
    Signature,
)
from headstock_client.retry import RetryPolicy
from headstock_client.types import (
    Anomaly,
    Answer,
    BackboneStatistics,
    Classification,
    Entity,
    InferResult,
    LabelSet,
    ModelMetadata,
    ModelState,
    TensorMetadata,
    Transcript,
)

__all__ = [
    "Anomaly",
    "Answer",
    "Artefact",
    "AsyncClient",
    "BackboneStatistics",
    "Classification",
    "Client",
    "ClientError",
    "DeadlineExceeded",
    "Entity",
    "FailedPrecondition",
    "InferResult",
    "InvalidRequest",
    "Item",
    "LabelSet",
    "LicenceVerdict",
    "LineageEdge",
    "ModelMetadata",
    "ModelState",
    "NotFound",
    "Obligation",
    "Overloaded",
    "PermissionDenied",
    "Plugin",
    "Provenance",
    "RetryPolicy",
    "Ruling",
    "ServerError",
    "Signature",
    "TensorMetadata",
    "Transcript",
    "Unavailable",
    "Unsupported",
]
