"""ModelStreamInfer: many requests on one call, answered in order, with Triton's rules for errors and final ones."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton

from headstock.catalogue import Catalogue
from headstock.oip import open_inference_grpc_pb2 as pb
from headstock.oip.open_inference_grpc_pb2_grpc import GRPCInferenceServiceStub
from headstock.testing.toy import publish_toy
from headstock_server.app import Running, ServeOptions
from headstock_server.engine import EngineOptions
from headstock_server.testing import background_server
from headstock_server.transport.stream import IN_FLIGHT


def request(name: str = "sentiment", text: bytes = b"great", **fields: Any) -> pb.ModelInferRequest:
    """One text for one model."""
    message = pb.ModelInferRequest(model_name=name, **fields)
    message.inputs.add(name="text", datatype="BYTES", shape=[1])
    message.raw_input_contents.append(len(text).to_bytes(4, "little") + text)
    return message


@pytest.fixture
def stub(toy_server: Running) -> Iterator[GRPCInferenceServiceStub]:
    """The service by hand-made messages."""
    with grpc.insecure_channel(toy_server.address) as channel:
        yield GRPCInferenceServiceStub(channel)


@pytest.fixture
def own_server(catalogue: Catalogue) -> Iterator[Running]:
    """A server whose scheduler a test may hold."""
    publish_toy(catalogue)
    options = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=64), grace=5.0)
    with background_server(catalogue.settings, options) as server:
        yield server


def eventually(condition: Any) -> None:
    """Wait a moment for something that another thread does."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def test_answers_come_in_the_order_of_the_requests_each_with_its_own_rows(
    stub: GRPCInferenceServiceStub,
) -> None:
    """Also when the requests are for several models and of several lengths."""
    names = ["sentiment", "intents", "vectors"]
    requests = [request(names[i % 3], b"order " * (1 + i % 7) + b"w%d" % i, id=str(i)) for i in range(40)]
    alone = [stub.ModelInfer(r) for r in requests]
    answers = list(stub.ModelStreamInfer(iter(requests)))
    assert [a.infer_response.id for a in answers] == [r.id for r in requests]
    for together, single in zip(answers, alone, strict=True):
        assert not together.error_message
        assert together.infer_response.model_name == single.model_name
        for mine, its in zip(together.infer_response.raw_output_contents, single.raw_output_contents, strict=True):
            assert mine == its


def test_every_answer_says_that_it_is_the_final_one_of_its_request(stub: GRPCInferenceServiceStub) -> None:
    """One answer for each request: asking for an empty final response adds none."""
    asking = request(id="asking")
    asking.parameters["triton_enable_empty_final_response"].bool_param = True
    answers = list(stub.ModelStreamInfer(iter([request(id="plain"), asking, request("no-such", id="wrong")])))
    assert [a.infer_response.id for a in answers] == ["plain", "asking", "wrong"]
    assert all(a.infer_response.parameters["triton_final_response"].bool_param for a in answers)


def test_the_wish_for_empty_final_responses_is_true_or_false(stub: GRPCInferenceServiceStub) -> None:
    """As for every parameter, another type is refused."""
    asking = request()
    asking.parameters["triton_enable_empty_final_response"].string_param = "yes"
    [answer] = stub.ModelStreamInfer(iter([asking]))
    assert "expected true or false" in answer.error_message


def test_an_error_is_a_message_in_the_stream_and_the_others_are_answered(
    stub: GRPCInferenceServiceStub,
) -> None:
    """Unknown model, wrong input, not even a message of this method: the call itself ends with OK."""
    wrong = request(id="shape")
    wrong.inputs[0].shape[:] = [2]
    call = stub.ModelStreamInfer(iter([request(id="1"), request("no-such", id="2"), wrong, request(id="4")]))
    answers = list(call)
    assert [bool(a.error_message) for a in answers] == [False, True, True, False]
    assert [a.infer_response.id for a in answers] == ["1", "2", "shape", "4"]
    assert "no-such" in answers[1].error_message
    assert call.code() is grpc.StatusCode.OK


def test_a_message_that_cannot_be_parsed_is_an_error_in_the_stream(toy_server: Running) -> None:
    """What follows it is still answered."""
    with grpc.insecure_channel(toy_server.address) as channel:
        method = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        raw = list(method(iter([b"\x0b\xff", request(id="2").SerializeToString()])))
    answers = [pb.ModelStreamInferResponse.FromString(r) for r in raw]
    assert [bool(a.error_message) for a in answers] == [True, False]


def test_a_caller_that_wants_status_codes_gets_the_first_error_as_one(stub: GRPCInferenceServiceStub) -> None:
    """`triton_grpc_error: true`: the answers before it arrive, then the call ends."""
    requests = iter([request(id="1"), request("no-such", id="2"), request(id="3")])
    call = stub.ModelStreamInfer(requests, metadata=[("triton_grpc_error", "true")])
    assert next(call).infer_response.id == "1"
    with pytest.raises(grpc.RpcError) as caught:
        next(call)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert "grpc-status-details-bin" in dict(caught.value.trailing_metadata())


def test_any_other_value_of_that_metadata_leaves_errors_in_the_stream(stub: GRPCInferenceServiceStub) -> None:
    """Only `true` asks for status codes."""
    [answer] = stub.ModelStreamInfer(iter([request("no-such")]), metadata=[("triton_grpc_error", "false")])
    assert "no-such" in answer.error_message


def test_tritonclient_streams_unchanged(toy_server: Running) -> None:
    """start_stream, async_stream_infer, stop_stream: results and errors reach the callback in order."""
    outcomes: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with triton.InferenceServerClient(toy_server.address) as client:
        tensor = triton.InferInput("text", [2], "BYTES")
        tensor.set_data_from_numpy(np.array([b"great", b"awful order"], object))
        expected = client.infer("sentiment", [tensor]).as_numpy("logits")
        client.start_stream(callback=lambda result, error: outcomes.put((result, error)))
        for i in range(10):
            client.async_stream_infer("sentiment", [tensor], request_id=str(i), enable_empty_final_response=True)
        client.async_stream_infer("no-such", [tensor])
        client.stop_stream()
    for i in range(10):
        result, error = outcomes.get_nowait()
        assert error is None
        assert result.get_response().id == str(i)
        assert result.get_response().parameters["triton_final_response"].bool_param
        np.testing.assert_allclose(result.as_numpy("logits"), expected, atol=1e-6)
    assert "no-such" in str(outcomes.get_nowait()[1])
    assert outcomes.empty()


def test_cancelling_a_stream_frees_its_waiting_rows(own_server: Running) -> None:
    """Nobody is left to read the answers, so no pass may be spent on them."""
    own_server.scheduler.hold(1000)
    release = threading.Event()

    def requests() -> Iterator[pb.ModelInferRequest]:
        yield from [request(id=str(i)) for i in range(5)]
        release.wait(10)

    with grpc.insecure_channel(own_server.address) as channel:
        call = GRPCInferenceServiceStub(channel).ModelStreamInfer(requests())
        eventually(lambda: own_server.scheduler.statistics().queued_rows == 5)
        call.cancel()
        release.set()
        # The scheduler looks for cancelled rows when it next picks some.
        eventually(lambda: not own_server.plane.busy)
        own_server.scheduler.hold(0)
        eventually(lambda: own_server.scheduler.statistics().queued_rows == 0)
    counters = own_server.scheduler.statistics().models["sentiment", 1]
    assert (counters.cancelled, counters.rows) == (5, 0)


def test_a_stream_has_a_bounded_number_of_unanswered_requests(own_server: Running) -> None:
    """The rest waits in the connection; all of it is answered in the end."""
    total = IN_FLIGHT + 30
    own_server.scheduler.hold(1000)
    with grpc.insecure_channel(own_server.address) as channel:
        call = GRPCInferenceServiceStub(channel).ModelStreamInfer(iter([request(id=str(i)) for i in range(total)]))
        eventually(lambda: own_server.scheduler.statistics().queued_rows == IN_FLIGHT)
        time.sleep(0.1)
        assert own_server.scheduler.statistics().queued_rows == IN_FLIGHT
        own_server.scheduler.hold(0)
        assert [a.infer_response.id for a in call] == [str(i) for i in range(total)]


def test_the_deadline_of_the_call_holds_for_its_requests(own_server: Running) -> None:
    """Rows that wait past it are dropped."""
    own_server.scheduler.hold(1000)
    with grpc.insecure_channel(own_server.address) as channel, pytest.raises(grpc.RpcError) as caught:
        list(GRPCInferenceServiceStub(channel).ModelStreamInfer(iter([request()]), timeout=0.2))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    eventually(lambda: not own_server.plane.busy)
    own_server.scheduler.hold(0)
    eventually(lambda: own_server.scheduler.statistics().queued_rows == 0)
    assert own_server.scheduler.statistics().models["sentiment", 1].rows == 0


def test_an_empty_stream_ends_with_nothing(stub: GRPCInferenceServiceStub) -> None:
    """And with OK."""
    call = stub.ModelStreamInfer(iter([]))
    assert list(call) == []
    assert call.code() is grpc.StatusCode.OK
