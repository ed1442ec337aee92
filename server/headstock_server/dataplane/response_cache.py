"""Answers given before, by everything that decides them: an exact key, and at most so many bytes."""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections import OrderedDict
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from headstock_server.dataplane.messages import InferRequest, InferResponse, OutputTensor, ParameterValue

if TYPE_CHECKING:
    from headstock_server.repository import LoadedModel

MARK = "response_cache"
"""Response parameter of an answer from the cache; its value is `hit`."""
HASHED_INLINE = 32 << 10
"""Bytes of one request's inputs up to which hashing costs less than handing it to another thread."""
LARGEST_INPUT = 4 << 20
"""Bytes of one request's inputs beyond which it is not looked up: it would cost what a small model's answer does."""
_ENTRY = 512
_IRRELEVANT = frozenset({"priority", "timeout", "licence"})
"""Parameters that say when an answer is wanted, or what should be said beside it, not which."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is kept of a response."""

    outputs: tuple[OutputTensor, ...]
    parameters: tuple[tuple[str, ParameterValue], ...]
    size: int
    """Bytes."""


class ResponseCache:
    """Least recently used answers go first. Event loop only."""

    def __init__(self, size: int) -> None:
        """Keep at most `size` bytes of answers."""
        self.limit = size
        self.size = self.hits = self.misses = self.evictions = 0
        self._answers: OrderedDict[bytes, Answer] = OrderedDict()

    def __len__(self) -> int:
        """Answers that are kept."""
        return len(self._answers)

    def get(self, key: bytes) -> Answer | None:
        """The answer of that key."""
        answer = self._answers.get(key)
        if answer is None:
            self.misses += 1
            return None
        self.hits += 1
        self._answers.move_to_end(key)
        return answer

    def put(self, key: bytes, response: InferResponse) -> None:
        """Keep a response unless it is larger than a tenth of the cache."""
        outputs = tuple(OutputTensor(o.name, o.datatype, _own(o.values)) for o in response.outputs)
        size = _ENTRY + sum(_bytes_of(output.values) for output in outputs)
        if size > self.limit // 10:
            return
        before = self._answers.pop(key, None)
        self.size += size - (before.size if before else 0)
        self._answers[key] = Answer(outputs, tuple(response.parameters.items()), size)
        while self.size > self.limit:
            _, oldest = self._answers.popitem(last=False)
            self.size -= oldest.size
            self.evictions += 1

    def __repr__(self) -> str:
        return f"ResponseCache({len(self)} answers, {self.size} of {self.limit} bytes, {self.hits} hits)"


async def key_by(pool: Executor, model: LoadedModel, request: InferRequest) -> bytes | None:
    """The key of a request, hashed by `pool` where that takes long; None for one that is not looked up."""
    size = sum(_input_bytes(tensor.values) for tensor in request.inputs)
    if size <= HASHED_INLINE:
        return key_of(model, request)
    if size > LARGEST_INPUT:
        return None
    return await asyncio.get_running_loop().run_in_executor(pool, key_of, model, request)


def key_of(model: LoadedModel, request: InferRequest) -> bytes:
    """SHA-256 of all that decides the answer.

    The version, its backbone (whose digest covers preprocessing and precision), its adapter and graph, its head, the
    inputs bit by bit, the parameters and the outputs asked for. Every part has its length before it, so no two
    different requests have the same text.
    """
    digest = hashlib.sha256()

    def add(part: bytes | memoryview) -> None:
        digest.update(struct.pack("<q", len(part)))
        digest.update(part)

    parameters = sorted((k, type(v).__name__, v) for k, v in request.parameters.items() if k not in _IRRELEVANT)
    outputs = [(output.name, output.classification) for output in request.outputs]
    lane = model.backbone.lane
    composed = (model.name, model.number, model.digest, *lane, model.head_digest)
    add(repr((composed, parameters, outputs, len(request.inputs))).encode())
    for tensor in request.inputs:
        add(repr((tensor.name, tensor.datatype, tensor.shape)).encode())
        if isinstance(tensor.values, list):
            add(str(len(tensor.values)).encode())
            for value in tensor.values:
                add(value)
        else:
            # As bytes, without a copy of them.
            add(np.ascontiguousarray(tensor.values).reshape(-1).view(np.uint8).data)
    return digest.digest()


def answered(answer: Answer, request: InferRequest, model: LoadedModel) -> InferResponse:
    """A response made of a kept answer, which says so."""
    parameters = {**dict(answer.parameters), MARK: "hit"}
    return InferResponse(model.name, str(model.number), request.id, list(answer.outputs), parameters)


def _own(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    # A view would keep the outputs of a whole pass; and nobody may change what others will get.
    copy = np.array(values, copy=True)
    copy.flags.writeable = False
    return copy


def _bytes_of(values: np.ndarray[Any, Any]) -> int:
    if values.dtype != object:
        return int(values.nbytes)
    return int(values.nbytes) + sum(len(value) + 33 for value in values.flat)


def _input_bytes(values: np.ndarray[Any, Any] | list[bytes]) -> int:
    return sum(map(len, values)) if isinstance(values, list) else int(values.nbytes)
