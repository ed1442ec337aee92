"""Served answers held against bare ONNX Runtime, one row at a time: the rate of wrong answers is no rate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
import numpy as np

from _common import CHANNEL, INFER
from _zoo import TAP, Floats
from headstock.graph import Graph
from headstock.oip import open_inference_grpc_pb2 as oip

CLOSE = 1e-4
"""Largest difference, as a share of the largest value: other heads' answers differ by a whole one."""
Expected = Callable[[bytes], Floats]
"""What the answer to a serialised request must be."""


def by_bare(graph: Graph, weights: Mapping[str, Floats]) -> Expected:
    """The row alone through the graph in this process, and through the head of the model that the request names."""

    def expected(request: bytes) -> Floats:
        message = oip.ModelInferRequest.FromString(request)
        features = graph.run(feeds_of(message, graph.inputs), [TAP])[0]
        logits: Floats = features[0] @ weights[message.model_name]
        return logits

    return expected


def feeds_of(message: Any, inputs: Sequence[str]) -> dict[str, np.ndarray]:
    """Graph inputs of a request of token ids; inputs that it does not send are zeros."""
    sent = {
        tensor.name: np.frombuffer(raw, "<i8").reshape(tensor.shape)
        for tensor, raw in zip(message.inputs, message.raw_input_contents, strict=True)
    }
    return {name: sent.get(name, np.zeros_like(sent["input_ids"])) for name in inputs}


def check_answers(
    address: str, requests: Sequence[bytes], expected: Expected, *, count: int = 48, close: float = CLOSE
) -> float:
    """The largest difference of `count` answers from what is expected, as a share; each asked alone and all at once.

    Exits if one is further off than `close`.
    """
    chosen = requests[:count]
    right = [expected(request) for request in chosen]
    served = asyncio.run(_ask(address, chosen))
    worst = max(
        float(np.abs(answer - wanted).max() / np.abs(wanted).max())
        for answers in served
        for answer, wanted in zip(answers, right, strict=True)
    )
    if not worst <= close:
        raise SystemExit(f"served answers differ from bare ONNX Runtime by {worst:.2g} of the largest value")
    return worst


async def _ask(address: str, requests: Sequence[bytes]) -> tuple[list[Floats], list[Floats]]:
    async with grpc.aio.insecure_channel(address, options=CHANNEL) as channel:
        infer = channel.unary_unary(INFER)
        alone = [_logits(await infer(request)) for request in requests]
        together = await asyncio.gather(*(infer(request) for request in requests))
    return alone, [_logits(answer) for answer in together]


def _logits(answer: bytes) -> Floats:
    """The only output, in whichever of the protocol's two forms the server sends it."""
    message = oip.ModelInferResponse.FromString(answer)
    if message.raw_output_contents:
        return np.frombuffer(message.raw_output_contents[0], "<f4")
    return np.array(message.outputs[0].contents.fp32_contents, np.float32)
