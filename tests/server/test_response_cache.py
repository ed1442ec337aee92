"""`serve --response-cache`: a kept answer is the answer that a pass would give, or it is not used."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
import numpy as np
import pytest

from headstock.catalogue import Catalogue
from headstock.oip import open_inference_grpc_pb2 as pb
from headstock.oip.open_inference_grpc_pb2_grpc import GRPCInferenceServiceStub
from headstock.settings import Settings
from headstock.testing.toy import ToyHead, publish_model, publish_toy
from headstock_server.app import Running, ServeOptions
from headstock_server.dataplane.messages import InferRequest, InferResponse, InputTensor, OutputTensor
from headstock_server.dataplane.response_cache import HASHED_INLINE, ResponseCache, key_of
from headstock_server.engine import EngineOptions
from headstock_server.testing import background_server

OPTIONS = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=256), response_cache=1 << 20)


def response(values: int) -> InferResponse:
    """Some answer of `values` numbers."""
    return InferResponse("m", "1", "", [OutputTensor("out", "FP32", np.zeros((1, values), np.float32))])


@dataclass(frozen=True)
class Caller:
    """Asks one server."""

    stub: GRPCInferenceServiceStub

    def ask(self, model: str, text: str = "great order", **parameters: int) -> pb.ModelInferResponse:
        """The whole response."""
        request = pb.ModelInferRequest(model_name=model)
        tensor = request.inputs.add(name="text", datatype="BYTES", shape=[1])
        tensor.contents.bytes_contents.append(text.encode())
        for name, value in parameters.items():
            request.parameters[name].int64_param = value
        response: pb.ModelInferResponse = self.stub.ModelInfer(request)
        return response

    def statistics(self, model: str) -> pb.ModelStatistics:
        """Of its only version."""
        return self.stub.ModelStatistics(pb.ModelStatisticsRequest(name=model)).model_stats[0]


@contextmanager
def calling(server: Running) -> Iterator[Caller]:
    """A caller of that server."""
    with grpc.insecure_channel(server.address) as channel:
        yield Caller(GRPCInferenceServiceStub(channel))


@pytest.fixture
def caller(toy_settings: Settings) -> Iterator[Caller]:
    """Of a server that keeps answers."""
    with background_server(toy_settings, OPTIONS) as server, calling(server) as opened:
        yield opened


def is_hit(response: pb.ModelInferResponse) -> bool:
    """True if it says that it was kept."""
    return "response_cache" in response.parameters and response.parameters["response_cache"].string_param == "hit"


def test_an_equal_request_is_answered_without_a_pass(caller: Caller) -> None:
    first = caller.ask("sentiment")
    before = caller.statistics("sentiment").execution_count
    second = caller.ask("sentiment")
    assert caller.statistics("sentiment").execution_count == before
    assert second.raw_output_contents == first.raw_output_contents
    assert (is_hit(first), is_hit(second)) == (False, True)


@pytest.mark.parametrize(
    "model, text", [("intents", "great order"), ("sentiment", "great order "), ("sentiment", "Great order")]
)
def test_another_model_or_one_other_byte_is_another_request(
    caller: Caller, toy_server: Running, model: str, text: str
) -> None:
    caller.ask("sentiment", "great order")
    found = caller.ask(model, text)
    with calling(toy_server) as direct:
        assert found.raw_output_contents == direct.ask(model, text).raw_output_contents
    assert not is_hit(found)


def test_a_parameter_that_only_says_when_makes_no_other_request(caller: Caller) -> None:
    caller.ask("sentiment")
    assert is_hit(caller.ask("sentiment", priority=1))


def test_a_promoted_version_does_not_answer_with_the_old_ones_words(catalogue: Catalogue) -> None:
    toy = publish_toy(catalogue, {"sentiment": ToyHead(seed=1)})
    catalogue.promote("sentiment", 1)
    with background_server(catalogue.settings, OPTIONS) as server, calling(server) as caller:
        old = [caller.ask("sentiment") for _ in range(2)][1]
        publish_model(catalogue, "sentiment", toy.backbone, ToyHead(seed=9))
        catalogue.promote("sentiment", 2)
        server.repository.refresh()
        new = caller.ask("sentiment")
    assert [(r.model_version, is_hit(r)) for r in (old, new)] == [("1", True), ("2", False)]
    assert new.raw_output_contents != old.raw_output_contents


@pytest.mark.parametrize("size, inline", [(100, True), (HASHED_INLINE + 2, False)], ids=["small", "large"])
def test_large_inputs_are_hashed_away_from_the_event_loop(
    toy_settings: Settings, monkeypatch: pytest.MonkeyPatch, size: int, inline: bool
) -> None:
    threads: list[str] = []

    def key_of_somewhere(model: object, request: object) -> bytes:
        threads.append(threading.current_thread().name)
        return key_of(model, request)  # type: ignore[arg-type]

    monkeypatch.setattr("headstock_server.dataplane.response_cache.key_of", key_of_somewhere)
    with background_server(toy_settings, OPTIONS) as server, calling(server) as caller:
        first, second = caller.ask("sentiment", "a " * (size // 2)), caller.ask("sentiment", "a " * (size // 2))
    assert (is_hit(first), is_hit(second)) == (False, True)
    assert second.raw_output_contents == first.raw_output_contents
    assert {name.startswith("headstock-plane") for name in threads} == {not inline}


def test_inputs_beyond_the_largest_are_not_looked_up(toy_server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstock_server.dataplane.response_cache.LARGEST_INPUT", HASHED_INLINE + 10)
    monkeypatch.setattr(toy_server.plane, "cache", ResponseCache(1 << 20))
    with calling(toy_server) as caller:
        for _ in range(2):
            assert not is_hit(caller.ask("sentiment", "a " * HASHED_INLINE))
    assert toy_server.plane.cache is not None
    assert len(toy_server.plane.cache) == 0


def test_the_key_tells_every_bit_of_arrays_and_their_shape_apart(toy_server: Running) -> None:
    model = toy_server.repository.resolve("sentiment")
    assert model is not None

    def key(values: np.ndarray) -> bytes:
        return key_of(model, InferRequest("m", "", "", [InputTensor("x", "FP32", values.shape, values)]))

    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert key(array) == key(np.asfortranarray(array)) == key(array.copy())
    others = [array.reshape(4, 3), array[:, :3], array.T, -0.0 * array, array * np.float32(1 + 2**-23), array[:0]]
    assert len({key(array), *map(key, others)}) == len(others) + 1


def test_statistics_tell_hits_from_misses(caller: Caller) -> None:
    for _ in range(3):
        caller.ask("sentiment")
    found = caller.statistics("sentiment").inference_stats
    assert (found.cache_hit.count, found.cache_miss.count, found.success.count) == (2, 1, 3)
    assert (found.queue.count, found.compute_infer.count) == (3, 1)


def test_the_oldest_answers_leave_and_the_bytes_stay_bounded() -> None:
    cache = ResponseCache(20_000)
    for number in range(100):
        cache.put(bytes([number]), response(100))
        cache.get(bytes([0]))
        assert cache.size <= 20_000
    assert cache.evictions > 0
    assert cache.get(bytes([0])) is not None
    assert cache.get(bytes([1])) is None


def test_an_answer_that_would_push_most_others_out_is_not_kept() -> None:
    cache = ResponseCache(20_000)
    cache.put(b"large", response(1000))
    assert len(cache) == 0


def test_nothing_is_kept_unless_asked(toy_server: Running) -> None:
    with calling(toy_server) as caller:
        assert not any(is_hit(caller.ask("sentiment")) for _ in range(2))
