"""Requests made from what a model says of its inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import numpy as np
import numpy.typing as npt

from headstock.errors import InvalidInput
from headstock.oip import open_inference_grpc_pb2 as oip

POOL = 256
"""Requests made for a model; a run goes round them."""
POOL_BYTES = 64 << 20
"""What the requests of all models may take; image tensors reach it before the pool is full."""
DTYPES = {
    "BOOL": "?", "INT8": "<i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "UINT8": "<u1", "UINT16": "<u2",
    "UINT32": "<u4", "UINT64": "<u8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
TEXT = (
    "the order came late and my refund is not here yet please tell me when you can send it again thank you for your "
    "help this was good but that one had broken parts so we want a new invoice before next week"
)
WORDS = TEXT.split()
NOT_TEXT = ("image", "audio", "row")
"""Raw inputs of Headstock models that words cannot stand in for."""
IDS = 100
"""Whole numbers are drawn below this: it is within every vocabulary, and their values do not change a pass's cost."""


def chosen(metadata: Any, names: Sequence[str]) -> list[Any]:
    """The inputs of a `ModelMetadataResponse` that a request sends.

    Those in `names`; without names all of them, or for a Headstock server the raw ones: it lists them first, and its
    tensors may be sent in place of them. Raises `InvalidInput` for a name that the model does not have.
    """
    tensors = {tensor.name: tensor for tensor in metadata.inputs}
    if missing := [name for name in names if name not in tensors]:
        raise InvalidInput(
            f"model {metadata.name!r} has no input {missing[0]!r}; expected one of {sorted(tensors)}",
            fix=f"--inputs {sorted(tensors)[0]}",
        )
    if names:
        return [tensors[name] for name in names]
    every = list(tensors.values())
    raw = list(takewhile(lambda tensor: tensor.datatype == "BYTES", every))
    return raw if raw and metadata.platform.startswith("headstock") else every


def generated(
    metadata: Any, tensors: Sequence[Any], lengths: Sequence[int], seed: int, budget: int = POOL_BYTES
) -> list[bytes]:
    """Serialised one-row requests for a model, at least one and no more than `budget` bytes beyond it.

    A length is drawn for each request. BYTES are text of that many words, every free axis but the first of a tensor
    is that long. Floats are normal, whole numbers are ids; a mask is all ones, segment ids are zeros. Raises
    `InvalidInput` for an input that cannot be made.
    """
    for tensor in tensors:
        if tensor.datatype != "BYTES" and tensor.datatype not in DTYPES:
            raise InvalidInput(
                f"input {tensor.name!r} of model {metadata.name!r} is {tensor.datatype!r}, which is not generated",
                fix="--input FILE",
            )
        if tensor.name in NOT_TEXT:
            raise InvalidInput(
                f"input {tensor.name!r} of model {metadata.name!r} is not text, and is not generated",
                fix='--input FILE, with a JSON object a line; a file is {"' + tensor.name + '": {"b64": "..."}}',
            )
    generator = np.random.default_rng([seed, 3])
    requests: list[bytes] = []
    size = 0
    while len(requests) < POOL and size <= budget:
        length = int(generator.choice(lengths))
        request = oip.ModelInferRequest(model_name=metadata.name)
        for tensor in tensors:
            add(request, tensor, _values(tensor, length, generator))
        requests.append(request.SerializeToString())
        size += len(requests[-1])
    return requests


def add(request: Any, tensor: Any, values: npt.NDArray[Any]) -> None:
    """Append an input, raw; BYTES values are an object array of bytes."""
    request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=values.shape)
    if tensor.datatype == "BYTES":
        raw = b"".join(len(v).to_bytes(4, "little") + v for v in values.ravel())
    else:
        raw = values.astype(DTYPES[tensor.datatype]).tobytes()
    request.raw_input_contents.append(raw)


def _values(tensor: Any, length: int, generator: np.random.Generator) -> npt.NDArray[Any]:
    free = 1 if tensor.datatype == "BYTES" else length
    shape = [size if size >= 0 else 1 if axis == 0 else free for axis, size in enumerate(tensor.shape)]
    if tensor.datatype == "BYTES":
        texts = [" ".join(generator.choice(WORDS, length)).encode() for _ in range(math.prod(shape))]
        return np.array(texts, object).reshape(shape)
    if tensor.datatype.startswith("FP"):
        return generator.standard_normal(shape)
    if "mask" in tensor.name or tensor.datatype == "BOOL":
        return np.ones(shape, np.int64)
    if "type_ids" in tensor.name:
        return np.zeros(shape, np.int64)
    return generator.integers(1, IDS, shape)
