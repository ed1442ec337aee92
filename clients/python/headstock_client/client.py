"""The blocking client."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType

import grpc

from headstock_client import messages
from headstock_client.errors import Unavailable, from_rpc_error
from headstock_client.retry import RetryBudget, RetryPolicy, next_delay
from headstock_client.types import (
    Array,
    BackboneStatistics,
    Classification,
    InferResult,
    Input,
    ModelMetadata,
    ModelState,
)

CHANNEL_OPTIONS = [("grpc.max_receive_message_length", 256 << 20)]


class Client:
    """Calls one server; thread-safe. Use it as a context manager, or `close` it.

    Every method raises a `ClientError`. Deadlines are in seconds and cover all attempts of a call.
    """

    def __init__(self, address: str, *, deadline: float = 5.0, retry: RetryPolicy | None = None) -> None:
        """Connect to `HOST:PORT` at the first call."""
        self._channel = grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._deadline = deadline
        self._policy = retry or RetryPolicy()
        self._budget = RetryBudget()
        self._methods: dict[str, grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {}
        self._labels: dict[tuple[str, str], tuple[str, ...]] = {}

    def classify(
        self, model: str, texts: Sequence[str], *, version: str = "", deadline: float | None = None
    ) -> list[Classification]:
        """Label and probabilities of each text."""
        result = self.infer(model, messages.texts_input(texts), ["probabilities", "label"], version, deadline=deadline)
        return self.classifications(result, deadline=deadline)

    def classifications(self, result: InferResult, *, deadline: float | None = None) -> list[Classification]:
        """The outputs `label` and `probabilities` of an earlier `infer`, with the names of the classes."""
        # Labels of one version never change, so they are asked for once.
        key = (result.model_name, result.model_version)
        if key not in self._labels:
            request = messages.model_request(messages.CONFIG, *key)
            self._labels[key] = messages.labels_of(self._call(messages.CONFIG, request, deadline))
        return messages.classifications(result, self._labels[key])

    def embed(self, model: str, texts: Sequence[str], *, version: str = "", deadline: float | None = None) -> Array:
        """One vector for each text: FP32 [n, d]."""
        result = self.infer(model, messages.texts_input(texts), ["embedding"], version, deadline=deadline)
        return result.outputs["embedding"]

    def infer(
        self,
        model: str,
        inputs: Mapping[str, Input],
        outputs: Sequence[str] | None = None,
        version: str = "",
        *,
        request_id: str = "",
        deadline: float | None = None,
    ) -> InferResult:
        """The named outputs (default: all) for arrays or texts, whose first axis is the row."""
        request = messages.infer_request(model, inputs, outputs, version, request_id)
        return messages.infer_result(self._call(messages.INFER, request, deadline))

    def metadata(self, model: str, version: str = "") -> ModelMetadata:
        """Inputs, outputs and versions of a model."""
        request = messages.model_request(messages.METADATA, model, version)
        return messages.metadata(self._call(messages.METADATA, request))

    def models(self) -> list[ModelState]:
        """Every version that the server knows."""
        return messages.index(self._call(messages.INDEX, b""))

    def is_ready(self, model: str | None = None, version: str = "") -> bool:
        """True if the server, or the model, takes requests; False also when it cannot be reached."""
        kind, request = messages.SERVER_READY, b""
        if model is not None:
            kind, request = messages.MODEL_READY, messages.model_request(messages.MODEL_READY, model, version)
        try:
            return messages.is_ready(self._call(kind, request))
        except Unavailable:
            return False

    def backbone_statistics(self) -> list[BackboneStatistics]:
        """Passes, rows and padding of each backbone."""
        return messages.backbone_statistics(self._call(messages.BACKBONES, b""))

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: str, request: bytes, deadline: float | None = None) -> bytes:
        end = time.monotonic() + (self._deadline if deadline is None else deadline)
        call = self._methods.get(method)
        if call is None:
            call = self._methods[method] = self._channel.unary_unary(method)
        failures = 0
        while True:
            try:
                response = call(request, timeout=max(0.0, end - time.monotonic()))
            except grpc.RpcError as rpc_error:
                error = from_rpc_error(rpc_error)
                failures += 1
                delay = next_delay(self._policy, self._budget, error, failures, end - time.monotonic())
                if delay is None:
                    raise error from None
                time.sleep(delay)
            else:
                self._budget.success()
                return response
