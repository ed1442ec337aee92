"""The asyncio client: the same methods as `Client`, as coroutines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TypeVar

import grpc

from headstock_client import messages, questions
from headstock_client.client import CHANNEL_OPTIONS
from headstock_client.errors import InvalidRequest, Unavailable, from_rpc_error
from headstock_client.items import Item, raw_inputs, tensors_of
from headstock_client.provenance import Provenance, provenance
from headstock_client.questions import Question
from headstock_client.retry import RetryBudget, RetryPolicy, next_delay
from headstock_client.types import (
    Anomaly,
    Answer,
    Array,
    BackboneStatistics,
    Classification,
    Entity,
    InferResult,
    Input,
    LabelSet,
    ModelMetadata,
    ModelState,
    Transcript,
)

T = TypeVar("T")


class AsyncClient:
    """Calls one server from one event loop. Use it as an async context manager, or `close` it.

    Every method raises a `ClientError`. Deadlines are in seconds and cover all attempts of a call.
    """

    def __init__(
        self, address: str, *, deadline: float = 5.0, retry: RetryPolicy | None = None, tenant: str = ""
    ) -> None:
        """Connect to `HOST:PORT` at the first call.

        `tenant` names whose turn the calls take on a server that was started with `--tenants`; raises `ValueError` for
        a name that gRPC cannot carry.
        """
        self._metadata = messages.call_metadata(tenant)
        self._channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._deadline = deadline
        self._policy = retry or RetryPolicy()
        self._budget = RetryBudget()
        self._methods: dict[str, grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]] = {}
        self._inputs: dict[tuple[str, str], tuple[str, ...]] = {}
        self._labels: dict[tuple[str, str], tuple[str, ...]] = {}

    async def predict(
        self,
        model: str,
        items: Sequence[Item],
        outputs: Sequence[str] | None = None,
        *,
        version: str = "",
        deadline: float | None = None,
        licence: bool = False,
    ) -> InferResult:
        """The named outputs (default: all) for samples of whatever the model reads; see `Item`.

        `licence` as in `infer`.
        """
        names = await self.raw_inputs(model, version, deadline=deadline)
        try:
            inputs = tensors_of(names, items)
            return await self.infer(model, inputs, outputs, version, deadline=deadline, licence=licence)
        except InvalidRequest:
            # The name may stand for another model by now; the next call asks anew.
            self._inputs.pop((model, version), None)
            raise

    async def classify(
        self, model: str, items: Sequence[Item], *, version: str = "", deadline: float | None = None
    ) -> list[Classification]:
        """Label and probabilities of each item."""
        return await self._ask(questions.CLASSIFY, model, items, version, deadline)

    async def label_sets(
        self, model: str, items: Sequence[Item], *, version: str = "", deadline: float | None = None
    ) -> list[LabelSet]:
        """Any number of labels of each item."""
        return await self._ask(questions.LABEL_SETS, model, items, version, deadline)

    async def embed(
        self, model: str, items: Sequence[Item], *, version: str = "", deadline: float | None = None
    ) -> Array:
        """One vector for each item: FP32 [n, d]."""
        return await self._ask(questions.EMBED, model, items, version, deadline)

    async def regress(
        self, model: str, items: Sequence[Item], *, version: str = "", deadline: float | None = None
    ) -> Array:
        """One number for each item: FP32 [n], in the unit of the model's target."""
        return await self._ask(questions.REGRESS, model, items, version, deadline)

    async def entities(
        self, model: str, items: Sequence[Item], *, version: str = "", deadline: float | None = None
    ) -> list[list[Entity]]:
        """The typed stretches of each text, in its order."""
        return await self._ask(questions.ENTITIES, model, items, version, deadline)

    async def answer(
        self, model: str, items: Sequence[Item], *, version: str = "", deadline: float | None = None
    ) -> list[Answer]:
        """The answer to each (question, context)."""
        return await self._ask(questions.ANSWER, model, items, version, deadline)

    async def transcribe(
        self, model: str, items: Sequence[Item], *, version: str = "", deadline: float | None = None
    ) -> list[Transcript]:
        """What is said in each recording."""
        return await self._ask(questions.TRANSCRIBE, model, items, version, deadline)

    async def inspect(
        self, model: str, items: Sequence[Item], *, version: str = "", deadline: float | None = None
    ) -> list[Anomaly]:
        """How far each item is from what is normal."""
        return await self._ask(questions.INSPECT, model, items, version, deadline)

    async def raw_inputs(self, model: str, version: str = "", *, deadline: float | None = None) -> tuple[str, ...]:
        """Names of the inputs that take raw samples: `text`, `image`, `audio`, `row`, or `question` and `context`."""
        # Asked for once: what a name reads hardly ever changes.
        key = (model, version)
        if key not in self._inputs:
            self._inputs[key] = raw_inputs(await self.metadata(model, version, deadline=deadline))
        return self._inputs[key]

    async def labels(self, model: str, version: str, *, deadline: float | None = None) -> tuple[str, ...]:
        """Names of the classes of one version, in the model's order; empty for a model without classes."""
        # Labels of one version never change, so they are asked for once.
        key = (model, version)
        if key not in self._labels:
            request = messages.model_request(messages.CONFIG, model, version)
            self._labels[key] = messages.labels_of(await self._call(messages.CONFIG, request, deadline))
        return self._labels[key]

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Input],
        outputs: Sequence[str] | None = None,
        version: str = "",
        *,
        request_id: str = "",
        deadline: float | None = None,
        licence: bool = False,
    ) -> InferResult:
        """The named outputs (default: all) for arrays or texts, whose first axis is the row.

        `licence` asks for the verdict with its proof id, and what using the answer obliges to: `InferResult.licence`.
        What the server refuses raises `PermissionDenied` either way.
        """
        request = messages.infer_request(model, inputs, outputs, version, request_id, licence)
        return messages.infer_result(await self._call(messages.INFER, request, deadline))

    async def metadata(self, model: str, version: str = "", *, deadline: float | None = None) -> ModelMetadata:
        """Inputs, outputs and versions of a model."""
        request = messages.model_request(messages.METADATA, model, version)
        return messages.metadata(await self._call(messages.METADATA, request, deadline))

    async def models(self) -> list[ModelState]:
        """Every version that the server knows."""
        return messages.index(await self._call(messages.INDEX, b""))

    async def is_ready(self, model: str | None = None, version: str = "") -> bool:
        """True if the server, or the model, takes requests; False also when it cannot be reached."""
        kind, request = messages.SERVER_READY, b""
        if model is not None:
            kind, request = messages.MODEL_READY, messages.model_request(messages.MODEL_READY, model, version)
        try:
            return messages.is_ready(await self._call(kind, request))
        except Unavailable:
            return False

    async def provenance(self, model: str, version: str = "", *, deadline: float | None = None) -> Provenance:
        """Lineage, licences, verdicts with their proofs, duties and signature of a version."""
        request = messages.model_request(messages.PROVENANCE, model, version)
        return provenance(await self._call(messages.PROVENANCE, request, deadline))

    async def backbone_statistics(self) -> list[BackboneStatistics]:
        """Passes, rows and padding of each backbone."""
        return messages.backbone_statistics(await self._call(messages.BACKBONES, b""))

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _ask(
        self, question: Question[T], model: str, items: Sequence[Item], version: str, deadline: float | None
    ) -> T:
        result = await self.predict(model, items, question.outputs, version=version, deadline=deadline)
        labels: tuple[str, ...] = ()
        if question.labelled:
            labels = await self.labels(result.model_name, result.model_version, deadline=deadline)
        return question.answer(result, labels)

    async def _call(self, method: str, request: bytes, deadline: float | None = None) -> bytes:
        end = time.monotonic() + (self._deadline if deadline is None else deadline)
        call = self._methods.get(method)
        if call is None:
            call = self._methods[method] = self._channel.unary_unary(method)
        failures = 0
        while True:
            try:
                response = await call(request, timeout=max(0.0, end - time.monotonic()), metadata=self._metadata)
            except grpc.aio.AioRpcError as rpc_error:
                error = from_rpc_error(rpc_error)
                failures += 1
                delay = next_delay(self._policy, self._budget, error, failures, end - time.monotonic())
                if delay is None:
                    raise error from None
                await asyncio.sleep(delay)
            else:
                self._budget.success()
                return response
