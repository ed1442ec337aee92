"""Which server the conformance suite talks to: our own on toy models, or any other that speaks the protocol.

    HEADSTOCK_OIP_SERVER=HOST:PORT HEADSTOCK_OIP_MODEL=NAME [HEADSTOCK_OIP_INPUTS=FILE] pytest tests/server/oip

The file holds a JSON list of inputs as in the protocol's HTTP form: `name`, `datatype`, `shape`, `data` (flat). Without
it, inputs of two rows are made up from the model's metadata.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from headstock.oip import open_inference_grpc_pb2 as pb
from headstock.oip.open_inference_grpc_pb2_grpc import GRPCInferenceServiceStub
from headstock.settings import Settings
from headstock_server.app import Running, ServeOptions
from headstock_server.engine import EngineOptions
from headstock_server.testing import background_server

SERVER, MODEL, INPUTS = "HEADSTOCK_OIP_SERVER", "HEADSTOCK_OIP_MODEL", "HEADSTOCK_OIP_INPUTS"

DTYPES = {
    **{f"INT{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    "BOOL": "?",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
TYPED = {
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "BOOL": "bool_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


@dataclass(frozen=True)
class Input:
    """One tensor that the model takes."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any]
    """As many elements as the shape has, in row-major order."""

    @property
    def raw(self) -> bytes:
        """Little-endian; BYTES elements each behind their length."""
        if self.datatype == "BYTES":
            elements = [e.encode() if isinstance(e, str) else e for e in self.data]
            return b"".join(len(e).to_bytes(4, "little") + e for e in elements)
        return np.array(self.data, DTYPES[self.datatype]).tobytes()


@dataclass(frozen=True)
class Target:
    """The server under test and a model of it."""

    address: str
    model: str
    inputs: list[Input]
    ours: bool
    """True for Headstock itself, which may leave nothing out."""

    def request(self, **fields: Any) -> pb.ModelInferRequest:
        """A good request with raw contents; `fields` replace or add fields of the message."""
        message = self.bare(**fields)
        message.raw_input_contents.extend(i.raw for i in self.inputs)
        return message

    def typed(self, **fields: Any) -> pb.ModelInferRequest:
        """The same with typed contents; skips where a datatype has none."""
        message = self.bare(**fields)
        for tensor, source in zip(message.inputs, self.inputs, strict=True):
            if source.datatype not in TYPED:
                pytest.skip(f"{source.datatype} has no typed contents")
            data = [e.encode() if isinstance(e, str) else e for e in source.data]
            getattr(tensor.contents, TYPED[source.datatype]).extend(data)
        return message

    def bare(self, **fields: Any) -> pb.ModelInferRequest:
        """Inputs without contents."""
        message = pb.ModelInferRequest(**{"model_name": self.model, **fields})
        for i in self.inputs:
            message.inputs.add(name=i.name, datatype=i.datatype, shape=i.shape)
        return message


@pytest.fixture(scope="module")
def fronted_server(toy_settings: Settings) -> Iterator[Running]:
    """Our own server behind a front end."""
    options = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=256), front_ends=1)
    with background_server(toy_settings, options) as server:
        yield server


@pytest.fixture(scope="module", params=["toy_server", "fronted_server"])
def target(request: pytest.FixtureRequest) -> Target:
    """The server that the environment names, else our own, without and with a front end."""
    address = os.environ.get(SERVER)
    if not address:
        texts = Input("text", "BYTES", [2], ["great order", "awful"])
        return Target(request.getfixturevalue(request.param).address, "sentiment", [texts], True)
    if request.param != "toy_server":
        pytest.skip("a server that the environment names is asked once")
    model = os.environ.get(MODEL)
    if not model:
        pytest.fail(f"{SERVER} is set and {MODEL} is not; name a model of that server")
    file = os.environ.get(INPUTS)
    if file:
        inputs = [Input(**entry) for entry in json.loads(Path(file).read_text())]
    else:
        with grpc.insecure_channel(address) as channel:
            metadata = GRPCInferenceServiceStub(channel).ModelMetadata(pb.ModelMetadataRequest(name=model))
        inputs = [_made_up(tensor) for tensor in metadata.inputs]
    return Target(address, model, inputs, False)


def _made_up(tensor: Any) -> Input:
    shape = [size if size > 0 else 2 if axis == 0 else 4 for axis, size in enumerate(tensor.shape)]
    fill: Any = "text" if tensor.datatype == "BYTES" else True if tensor.datatype == "BOOL" else 1
    return Input(tensor.name, tensor.datatype, shape, [fill] * math.prod(shape))


@pytest.fixture(scope="module")
def stub(target: Target) -> Iterator[GRPCInferenceServiceStub]:
    """The service under test."""
    with grpc.insecure_channel(target.address) as channel:
        yield GRPCInferenceServiceStub(channel)


@pytest.fixture
def extension(target: Target, stub: GRPCInferenceServiceStub) -> Callable[[str], None]:
    """Skips the test where another server does not announce an extension; ours must."""

    def need(name: str) -> None:
        announced = stub.ServerMetadata(pb.ServerMetadataRequest()).extensions
        if name not in announced:
            assert not target.ours, f"our own server does not announce {name!r}"
            pytest.skip(f"the server does not announce {name!r}")

    return need


@pytest.fixture
def refused() -> Callable[..., tuple[grpc.StatusCode, str]]:
    """Code and message of a call that must fail."""

    def call(method: Callable[[Any], Any], request: Any) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as caught:
            method(request)
        return caught.value.code(), caught.value.details()

    return call
