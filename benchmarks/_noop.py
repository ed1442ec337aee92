"""A model that costs nothing: 384 floats of a word, as a linear head on the toy backbone makes them."""

from __future__ import annotations

from pathlib import Path

import grpc

from _common import INFER
from _zoo import open_zoo
from headstock.oip import open_inference_grpc_pb2 as oip
from headstock.testing.toy import ToyHead, publish_toy

NOOP, FLOATS = "noop", 384
WORD = b"hi"


def publish_noop(home: Path) -> None:
    """Publish the model as `NOOP`."""
    as_they_are = {"kind": "embedding", "width": FLOATS, "normalise": False}
    with open_zoo(home) as catalogue:
        publish_toy(catalogue, {NOOP: ToyHead(out=FLOATS, seed=1, postprocess=as_they_are)})


def noop_request() -> bytes:
    """A word for the model."""
    request = oip.ModelInferRequest(model_name=NOOP)
    request.inputs.add(name="text", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(len(WORD).to_bytes(4, "little") + WORD)
    data: bytes = request.SerializeToString()
    return data


def check_noop(address: str) -> None:
    """Exit unless the model answers all its floats."""
    with grpc.insecure_channel(address) as channel:
        answer = oip.ModelInferResponse.FromString(channel.unary_unary(INFER)(noop_request()))
    if (size := len(answer.raw_output_contents[0])) != 4 * FLOATS:
        raise SystemExit(f"the no-op answered {size} bytes; expected {4 * FLOATS}")
