"""Requests to bytes and bytes to answers; shared by the sync and the async client."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from struct import Struct

import numpy as np

from headstock.oip import open_inference_grpc_pb2 as pb
from headstock.v1 import zoo_pb2
from headstock_client.provenance import ruling
from headstock_client.types import (
    Array,
    BackboneStatistics,
    InferResult,
    Input,
    ModelMetadata,
    ModelState,
    TensorMetadata,
)

_OIP = "/inference.GRPCInferenceService/"
INFER = _OIP + "ModelInfer"
METADATA = _OIP + "ModelMetadata"
CONFIG = _OIP + "ModelConfig"
INDEX = _OIP + "RepositoryIndex"
SERVER_READY = _OIP + "ServerReady"
MODEL_READY = _OIP + "ModelReady"
BACKBONES = "/headstock.v1.Zoo/BackboneStatistics"
PROVENANCE = "/headstock.v1.Zoo/Provenance"

TENANT = "headstock-tenant"
"""Metadata key."""

LICENCE = "licence"
"""Request parameter that asks for what the licences say."""

_LENGTH = Struct("<I")
_DATATYPES = {
    "?": "BOOL",
    "u1": "UINT8",
    "u2": "UINT16",
    "u4": "UINT32",
    "u8": "UINT64",
    "i1": "INT8",
    "i2": "INT16",
    "i4": "INT32",
    "i8": "INT64",
    "f2": "FP16",
    "f4": "FP32",
    "f8": "FP64",
}
_DTYPES = {name: np.dtype("<" + code if code != "?" else code) for code, name in _DATATYPES.items()}


def call_metadata(tenant: str) -> tuple[tuple[str, str], ...]:
    """What goes with every call of a tenant; raises `ValueError` for a name that gRPC cannot carry."""
    if not (tenant.isascii() and tenant.isprintable() and len(tenant) <= 256):
        raise ValueError(f"tenant {tenant[:80]!r} is not allowed; expected at most 256 printable ASCII characters")
    return ((TENANT, tenant),) if tenant else ()


def infer_request(
    model: str,
    inputs: Mapping[str, Input],
    outputs: Sequence[str] | None,
    version: str,
    request_id: str,
    licence: bool = False,
) -> bytes:
    """An encoded ModelInferRequest with raw contents; raises `TypeError` for what is no tensor."""
    request = pb.ModelInferRequest(model_name=model, model_version=version, id=request_id)
    if licence:
        request.parameters[LICENCE].bool_param = True
    for name, value in inputs.items():
        datatype, shape, raw = _encode(name, value)
        request.inputs.add(name=name, datatype=datatype, shape=shape)
        request.raw_input_contents.append(raw)
    for name in outputs or ():
        request.outputs.add(name=name)
    return request.SerializeToString()


def infer_result(data: bytes) -> InferResult:
    """The answer in an encoded ModelInferResponse."""
    response = pb.ModelInferResponse.FromString(data)
    tensors = {
        tensor.name: _decode(tensor.datatype, tuple(tensor.shape), raw)
        for tensor, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }
    said = response.parameters
    truncated = said["truncated_rows"].int64_param if "truncated_rows" in said else 0
    return InferResult(tensors, response.model_name, response.model_version, response.id, truncated, ruling(said))


def model_request(kind: str, model: str, version: str) -> bytes:
    """An encoded request of RPC `kind` that names one model."""
    types = {
        METADATA: pb.ModelMetadataRequest,
        CONFIG: pb.ModelConfigRequest,
        MODEL_READY: pb.ModelReadyRequest,
        PROVENANCE: zoo_pb2.ProvenanceRequest,
    }
    return types[kind](name=model, version=version).SerializeToString()


def labels_of(data: bytes) -> tuple[str, ...]:
    """Class names out of an encoded ModelConfigResponse; empty for a model without classes."""
    parameters = pb.ModelConfigResponse.FromString(data).config.parameters
    return tuple(json.loads(parameters["labels"].string_value)) if "labels" in parameters else ()


def metadata(data: bytes) -> ModelMetadata:
    """An encoded ModelMetadataResponse."""
    response = pb.ModelMetadataResponse.FromString(data)
    return ModelMetadata(
        name=response.name,
        versions=tuple(response.versions),
        platform=response.platform,
        inputs=tuple(TensorMetadata(t.name, t.datatype, tuple(t.shape)) for t in response.inputs),
        outputs=tuple(TensorMetadata(t.name, t.datatype, tuple(t.shape)) for t in response.outputs),
    )


def index(data: bytes) -> list[ModelState]:
    """An encoded RepositoryIndexResponse."""
    models = pb.RepositoryIndexResponse.FromString(data).models
    return [ModelState(m.name, m.version, m.state, m.reason) for m in models]


def is_ready(data: bytes) -> bool:
    """An encoded ServerReadyResponse or ModelReadyResponse, which are equal on the wire."""
    return pb.ServerReadyResponse.FromString(data).ready


def backbone_statistics(data: bytes) -> list[BackboneStatistics]:
    """An encoded BackboneStatisticsResponse."""
    return [
        BackboneStatistics(
            backbone=row.backbone,
            device=row.device,
            passes=row.passes,
            mixed_passes=row.mixed_passes,
            rows=row.rows,
            rows_reused=row.rows_reused,
            requests=row.requests,
            tokens_real=row.tokens_real,
            tokens_padded=row.tokens_padded,
            queued_rows=row.queued_rows,
            adapters=row.adapters,
            adapters_held=row.adapters_held,
        )
        for row in zoo_pb2.BackboneStatisticsResponse.FromString(data).backbones
    ]


def _encode(name: str, value: Input) -> tuple[str, tuple[int, ...], bytes]:
    array = value if isinstance(value, np.ndarray) else np.array(value, dtype=object)
    if array.dtype.kind in "OUS":
        elements = [_element(name, element) for element in array.ravel().tolist()]
        raw = b"".join(part for element in elements for part in (_LENGTH.pack(len(element)), element))
        return "BYTES", array.shape, raw
    datatype = _DATATYPES.get(array.dtype.str[1:] if array.dtype.kind != "b" else "?")
    if datatype is None:
        raise TypeError(f"input {name!r} has dtype {array.dtype}; expected one of {', '.join(_DTYPES)} or texts")
    return datatype, array.shape, array.astype(_DTYPES[datatype], copy=False).tobytes()


def _element(name: str, element: object) -> bytes:
    if isinstance(element, str):
        return element.encode()
    if isinstance(element, bytes):
        return element
    raise TypeError(f"input {name!r} holds a {type(element).__name__}; expected texts, bytes or a numeric array")


def _decode(datatype: str, shape: tuple[int, ...], raw: bytes) -> Array:
    if datatype != "BYTES":
        return np.frombuffer(raw, dtype=_DTYPES[datatype]).reshape(shape)
    elements, at = [], 0
    while at < len(raw):
        start = at + _LENGTH.size
        at = start + _LENGTH.unpack_from(raw, at)[0]
        elements.append(raw[start:at])
    result = np.empty(len(elements), dtype=object)
    result[:] = elements
    return result.reshape(shape)
