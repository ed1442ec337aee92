"""The requests of a run: asked of the server's models, or read from a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from headstock.errors import HeadstockError, NotFound, Unavailable
from headstock.oip import open_inference_grpc_pb2 as oip
from headstock_server.bench.inputs import POOL_BYTES, chosen, generated
from headstock_server.bench.load import CHANNEL, Requests, requests
from headstock_server.bench.mix import lengths, picks, shares
from headstock_server.bench.recorded import recorded

METADATA = "/inference.GRPCInferenceService/ModelMetadata"


@dataclass(frozen=True, slots=True)
class Workload:
    """What to send."""

    models: Sequence[str]
    mix: str
    """`uniform` or `zipf:S`: the shares of the models, in the order named."""
    lengths: str
    """Words of generated text, or tokens where token ids are sent: a number, or a file of one a line."""
    inputs: Sequence[str]
    """Inputs to send; empty for those the model needs."""
    file: Path | None
    """JSON lines to send instead of generated inputs."""
    seed: int
    tenants: int = 0
    """Requests name so many tenants in turn; 0 names none."""


class Prepared:
    """Every request of a workload, ready to send: making them must cost nothing while the clock runs."""

    def __init__(self, address: str, workload: Workload, timeout: float) -> None:
        """Raises `NotFound`, `Unavailable` or `InvalidInput` where the models or the workload do not fit."""
        self._workload = workload
        self._share = shares(workload.mix, len(workload.models))
        drawn = lengths(workload.lengths)
        budget = POOL_BYTES // len(workload.models)
        self._pools: list[list[bytes]] = []
        for place, metadata in enumerate(_metadata(address, workload.models, timeout)):
            if workload.file:
                pool = recorded(metadata, workload.file)
            else:
                tensors = chosen(metadata, workload.inputs)
                pool = generated(metadata, tensors, drawn, workload.seed + place, budget)
            self._pools.append(pool)

    def requests(self) -> Requests:
        """The endless sequence of the workload, from its beginning."""
        order = picks(self._share, self._workload.seed)
        return requests(self._workload.models, self._pools, order, self._workload.tenants)


def _metadata(address: str, models: Sequence[str], timeout: float) -> list[Any]:
    with grpc.insecure_channel(address, options=CHANNEL) as channel:
        call = channel.unary_unary(
            METADATA,
            request_serializer=oip.ModelMetadataRequest.SerializeToString,
            response_deserializer=oip.ModelMetadataResponse.FromString,
        )
        found = []
        for model in models:
            try:
                metadata = call(oip.ModelMetadataRequest(name=model), timeout=timeout)
            except grpc.RpcError as error:
                raise _refused(address, model, error) from error
            # Some servers answer with a path or an internal name; what was asked for is what can be called.
            metadata.name = model
            found.append(metadata)
    return found


def _refused(address: str, model: str, error: Any) -> HeadstockError:
    if error.code() is grpc.StatusCode.NOT_FOUND:
        return NotFound(
            f"the server at {address!r} has no model {model!r}: {error.details()}",
            fix="--models with a name that headstock list shows",
        )
    return Unavailable(
        f"{address!r} did not describe model {model!r}: {error.code().name}, {error.details()}; "
        "expected a server of the Open Inference Protocol",
        fix="headstock serve, and the address that it prints",
    )
