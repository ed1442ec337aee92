"""The client: what it answers, how it fails, when it tries again."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2

from headstock_client import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    RetryPolicy,
    ServerError,
    Unavailable,
    Unsupported,
)
from headstock_client.retry import RetryBudget, next_delay
from headstock_server.app import Running

FAST = RetryPolicy(first_delay=0.01)


class Blocking:
    """The async client behind blocking calls, so that one test serves both."""

    def __init__(self, address: str, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = self._runner.run(self._make(address, options))

    async def _make(self, address: str, options: dict[str, Any]) -> AsyncClient:
        return AsyncClient(address, **options)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            result = getattr(self._client, name)(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result

        return lambda *args, **kwargs: self._runner.run(call(*args, **kwargs))

    def __enter__(self) -> Blocking:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


@pytest.fixture(params=[Client, Blocking], ids=["sync", "async"])
def make(request: pytest.FixtureRequest) -> Any:
    """Both clients."""
    return request.param


def test_classify_answers_labels_and_probabilities(make: Any, toy_server: Running) -> None:
    """One answer for each text, in order; the classes are the model's own."""
    with make(toy_server.address) as client:
        first, second = client.classify("intents", ["great order", "broken"])
        alone = client.classify("intents", ["broken"])[0]
    assert list(first.probabilities) == ["refund", "delivery", "other"]
    assert first.label == max(first.probabilities, key=first.probabilities.__getitem__)
    assert first.score == first.probabilities[first.label]
    assert sum(first.probabilities.values()) == pytest.approx(1.0, abs=1e-5)
    assert second.label == alone.label
    assert second.probabilities == pytest.approx(alone.probabilities, abs=1e-6)


def test_embed_answers_one_vector_for_each_text(make: Any, toy_server: Running) -> None:
    """FP32 [n, d]."""
    with make(toy_server.address) as client:
        vectors = client.embed("vectors", ["great", "broken", "late"])
    assert (vectors.dtype, vectors.shape) == (np.float32, (3, 4))


def test_infer_takes_texts_and_arrays_and_names_the_version(make: Any, toy_server: Running) -> None:
    """Text as str, bytes or object arrays; ids as INT64."""
    with make(toy_server.address) as client:
        results = [
            client.infer("sentiment", inputs, ["logits"], "1", request_id="7")
            for inputs in (
                {"text": ["great"]},
                {"text": [b"great"]},
                {"text": np.array(["great"])},
                {"input_ids": np.array([[2, 10, 3]]), "attention_mask": np.ones((1, 3), np.int64)},
            )
        ]
    for result in results:
        assert (result.model_name, result.model_version, result.id) == ("sentiment", "1", "7")
        assert list(result.outputs) == ["logits"]
        np.testing.assert_array_equal(result.outputs["logits"], results[0].outputs["logits"])


def test_metadata_index_and_readiness(make: Any, toy_server: Running) -> None:
    """What the server knows."""
    with make(toy_server.address) as client:
        metadata = client.metadata("sentiment")
        assert [t.name for t in metadata.inputs] == ["text", "input_ids", "attention_mask"]
        assert metadata.outputs[0].shape == (-1, 2)
        assert {(m.name, m.state) for m in client.models()} == {
            ("sentiment", "READY"),
            ("intents", "READY"),
            ("vectors", "READY"),
        }
        assert client.is_ready()
        assert client.is_ready("sentiment")
        assert not client.is_ready("nothing")


def test_truncation_is_reported(make: Any, toy_server: Running) -> None:
    """A text longer than the model reads."""
    with make(toy_server.address) as client:
        assert client.infer("sentiment", {"text": ["order " * 300, "order"]}).truncated_rows == 1


def test_an_answer_says_what_the_licences_say_if_it_is_asked(make: Any, toy_server: Running) -> None:
    """The verdict and the proof that the server's provenance tells of, with the outputs that come without asking."""
    with make(toy_server.address) as client:
        asked = client.predict("sentiment", ["great order"], licence=True)
        silent = client.predict("sentiment", ["great order"])
        tensors = client.infer("sentiment", {"text": ["great order"]}, licence=True)
        serving = client.provenance("sentiment").verdicts["serve"]
    assert silent.licence is None
    assert asked.licence == tensors.licence
    assert (asked.licence.value, asked.licence.reason) == (serving.value, serving.reason) != ("", "")
    assert asked.licence.proof_id == serving.proof_id
    np.testing.assert_array_equal(asked.outputs["probabilities"], silent.outputs["probabilities"])


def test_a_server_that_is_not_there_is_not_ready(make: Any) -> None:
    """Asking does not raise."""
    with make("127.0.0.1:1", deadline=0.5, retry=FAST) as client:
        assert not client.is_ready()


# ------------------------------------------------------------------------------------------- failures
@pytest.mark.parametrize(
    "call, kind, message",
    [
        (lambda c: c.classify("sentimant", ["x"]), NotFound, "did you mean 'sentiment'"),
        (lambda c: c.classify("vectors", ["x"]), InvalidRequest, "output 'probabilities' is not one of this model's"),
        (lambda c: c.infer("sentiment", {"txt": ["x"]}), InvalidRequest, "expected either 'text' BYTES"),
        (lambda c: c.infer("sentiment", {"text": ["x"] * 1025}), Overloaded, "1025 rows"),
    ],
    ids=["unknown model", "no classes", "wrong input", "too many rows"],
)
def test_errors_are_typed_and_say_what_to_do(
    make: Any, toy_server: Running, call: Callable[[Any], Any], kind: type, message: str
) -> None:
    """With the server's words."""
    with make(toy_server.address) as client, pytest.raises(kind, match=message) as caught:
        call(client)
    assert caught.value.code.name in str(caught.value)
    assert caught.value.reason
    assert not caught.value.retriable


def test_one_string_instead_of_a_list_is_refused(make: Any, toy_server: Running) -> None:
    """It would be read letter by letter."""
    with make(toy_server.address) as client, pytest.raises(TypeError, match="expected a list of samples"):
        client.classify("sentiment", "great")


@pytest.mark.parametrize("values", [np.array([1 + 2j]), [1, 2], [None]], ids=["complex", "ints", "none"])
def test_what_is_no_tensor_is_refused_before_it_is_sent(make: Any, toy_server: Running, values: Any) -> None:
    """Naming the input."""
    with make(toy_server.address) as client, pytest.raises(TypeError, match="input 'text'"):
        client.infer("sentiment", {"text": values})


def test_a_deadline_is_kept(make: Any, toy_server: Running) -> None:
    """Also when the server is busy."""
    toy_server.scheduler.hold(1000)
    try:
        with make(toy_server.address, deadline=0.2) as client, pytest.raises(DeadlineExceeded):
            client.classify("sentiment", ["great"])
    finally:
        toy_server.scheduler.hold(0)


class Flaky:
    """A server that fails its first calls as told, then answers."""

    def __init__(self, *failures: tuple[grpc.StatusCode, float | None]) -> None:
        self.failures = list(failures)
        self.calls: list[float] = []

    def __call__(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        self.calls.append(time.monotonic())
        if self.failures:
            code, retry_after = self.failures.pop(0)
            status = status_pb2.Status(code=code.value[0], message="busy")
            if retry_after is not None:
                info = error_details_pb2.RetryInfo()
                info.retry_delay.FromNanoseconds(int(retry_after * 1e9))
                status.details.add().Pack(info)
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
            context.abort(code, "busy")
        return b"\x08\x01"


@contextmanager
def flaky(behaviour: Flaky) -> Iterator[str]:
    """That server on a port."""
    server = grpc.server(ThreadPoolExecutor(2))
    handler = grpc.unary_unary_rpc_method_handler(behaviour)
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ServerReady": handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0).wait()


BUSY = (grpc.StatusCode.RESOURCE_EXHAUSTED, 0.05)


def test_an_overloaded_server_is_asked_again_when_it_said(make: Any) -> None:
    """Not earlier than its RetryInfo."""
    behaviour = Flaky(BUSY, BUSY)
    with flaky(behaviour) as address, make(address, retry=FAST) as client:
        assert client.is_ready()
    first, second, third = behaviour.calls
    assert second - first >= 0.05
    assert third - second >= 0.05


def test_three_attempts_are_the_most(make: Any) -> None:
    """Then the caller gets the error."""
    behaviour = Flaky(*[BUSY] * 5)
    with flaky(behaviour) as address, make(address, retry=FAST) as client, pytest.raises(Overloaded) as caught:
        client.is_ready()
    assert len(behaviour.calls) == 3
    assert caught.value.retry_after == pytest.approx(0.05)


@pytest.mark.parametrize(
    "code, retry_after, kind",
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, None, Overloaded),
        (grpc.StatusCode.INTERNAL, None, ServerError),
        (grpc.StatusCode.INTERNAL, 0.01, ServerError),
        (grpc.StatusCode.INVALID_ARGUMENT, None, InvalidRequest),
        (grpc.StatusCode.UNIMPLEMENTED, None, Unsupported),
        (grpc.StatusCode.DEADLINE_EXCEEDED, None, DeadlineExceeded),
    ],
)
def test_what_may_have_run_or_cannot_succeed_is_not_repeated(
    make: Any, code: grpc.StatusCode, retry_after: float | None, kind: type
) -> None:
    """One attempt."""
    behaviour = Flaky((code, retry_after))
    with flaky(behaviour) as address, make(address, retry=FAST) as client, pytest.raises(kind):
        client.is_ready()
    assert len(behaviour.calls) == 1


def test_a_connection_that_broke_on_the_way_is_not_retried(make: Any) -> None:
    """UNAVAILABLE without RetryInfo: the request may have been processed."""
    behaviour = Flaky((grpc.StatusCode.UNAVAILABLE, None))
    with flaky(behaviour) as address, make(address, retry=FAST) as client:
        assert not client.is_ready()
    assert len(behaviour.calls) == 1


def test_a_server_that_is_stopping_is_asked_again(make: Any) -> None:
    """UNAVAILABLE with RetryInfo: it refused before processing."""
    behaviour = Flaky((grpc.StatusCode.UNAVAILABLE, 0.01))
    with flaky(behaviour) as address, make(address, retry=FAST) as client:
        assert client.is_ready()
    assert len(behaviour.calls) == 2


def test_a_retry_that_would_pass_the_deadline_is_not_made(make: Any) -> None:
    """The caller learns at once that it will not work."""
    behaviour = Flaky((grpc.StatusCode.RESOURCE_EXHAUSTED, 30.0))
    start = time.monotonic()
    with flaky(behaviour) as address, make(address, deadline=1.0) as client, pytest.raises(Overloaded):
        client.is_ready()
    assert time.monotonic() - start < 0.9


def test_a_server_that_cannot_be_reached_is_tried_within_the_deadline(make: Any) -> None:
    """The connection never stood, so the request was certainly not processed."""
    with make("127.0.0.1:1", deadline=2.0, retry=FAST) as client, pytest.raises(Unavailable) as caught:
        client.models()
    assert caught.value.retriable


def test_the_budget_ends_retries_when_most_calls_fail() -> None:
    """A client of a broken server must not triple its load."""
    budget, policy = RetryBudget(tokens=10.0), RetryPolicy()
    busy = Overloaded(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", retry_after=0.01)
    retries = sum(next_delay(policy, budget, busy, 1, 10.0) is not None for _ in range(100))
    assert retries == 4
    for _ in range(100):
        budget.success()
    assert next_delay(policy, budget, busy, 1, 10.0) is not None


def test_delays_grow_vary_and_are_bounded() -> None:
    """Exponential with jitter; never before the server's own hint."""
    policy = RetryPolicy(first_delay=0.1, longest_delay=0.3, jitter=0.2)
    lost = Unavailable(grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses")
    assert [policy.delay(n, lost, 0.5) for n in (1, 2, 3, 4)] == pytest.approx([0.1, 0.2, 0.3, 0.3])
    assert policy.delay(1, lost, 0.0) == pytest.approx(0.08)
    told = Overloaded(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", retry_after=1.0)
    assert policy.delay(1, told, 0.0) == pytest.approx(1.0)
    assert 1.0 < policy.delay(1, told, 0.9) <= 1.2
