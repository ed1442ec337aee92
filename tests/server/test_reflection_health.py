"""Health and reflection: what load balancers and grpcurl ask."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from headstock.catalogue import Catalogue
from headstock.oip import open_inference_grpc_pb2 as pb
from headstock.oip.open_inference_grpc_pb2_grpc import GRPCInferenceServiceStub
from headstock.testing.toy import publish_toy
from headstock_server.app import Running, ServeOptions
from headstock_server.engine import EngineOptions
from headstock_server.scheduler.lane import Lane
from headstock_server.testing import background_server

Health = health_pb2.HealthCheckResponse
REFLECTION = ("grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection")


@pytest.fixture(scope="module")
def channel(toy_server: Running) -> Iterator[grpc.Channel]:
    """A plain channel."""
    with grpc.insecure_channel(toy_server.address) as opened:
        yield opened


@pytest.mark.parametrize("service", ["", "inference.GRPCInferenceService", "headstock.v1.Zoo", "sentiment"])
def test_the_server_its_services_and_its_models_are_healthy(channel: grpc.Channel, service: str) -> None:
    """A model has a health of its own."""
    response = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
    assert response.status == Health.SERVING


def test_the_health_of_what_is_not_there_is_not_found(channel: grpc.Channel) -> None:
    """As the health protocol wants it."""
    with pytest.raises(grpc.RpcError) as caught:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="nothing"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("method", ["Check", "Watch", "ServerReflectionInfo"])
def test_what_is_no_message_of_the_method_is_the_callers_mistake(channel: grpc.Channel, method: str) -> None:
    """Not an unknown error, and nothing in the log."""
    path = f"/{REFLECTION[0] if method == 'ServerReflectionInfo' else 'grpc.health.v1.Health'}/{method}"
    data = b"\x0a\x05a"
    calls = {
        "Check": lambda: channel.unary_unary(path)(data),
        "Watch": lambda: next(channel.unary_stream(path)(data, timeout=5)),
        "ServerReflectionInfo": lambda: next(channel.stream_stream(path)(iter([data]), timeout=5)),
    }
    with pytest.raises(grpc.RpcError) as caught:
        calls[method]()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "not a valid message" in caught.value.details()


def test_a_watcher_sees_the_end_coming(catalogue: Catalogue) -> None:
    """NOT_SERVING comes before the connection ends, while an accepted request is still answered."""
    publish_toy(catalogue)
    options = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=64))
    request = pb.ModelInferRequest(model_name="sentiment", raw_input_contents=[b"\x05\x00\x00\x00great"])
    request.inputs.add(name="text", datatype="BYTES", shape=[1])
    seen = []
    with background_server(catalogue.settings, options, lame_duck=0.3) as server:
        channel = grpc.insecure_channel(server.address)
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="sentiment"))
        seen.append(next(watch).status)
        server.scheduler.hold(1000)
        answer = GRPCInferenceServiceStub(channel).ModelInfer.future(request)
        while server.scheduler.statistics().queued_rows == 0:
            assert not answer.done()
        import threading

        def finish() -> None:
            seen.append(next(watch).status)
            server.scheduler.hold(0)

        finisher = threading.Thread(target=finish)
        finisher.start()
    finisher.join()
    assert seen == [Health.SERVING, Health.NOT_SERVING]
    assert answer.result().model_version == "1"
    channel.close()


def test_watching_a_model_that_is_not_there_tells_when_it_comes(catalogue: Catalogue) -> None:
    """SERVICE_UNKNOWN, then SERVING."""
    from headstock.testing.toy import ToyHead, publish_model

    toy = publish_toy(catalogue)
    options = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=64))
    with background_server(catalogue.settings, options) as server, grpc.insecure_channel(server.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="late"))
        assert next(watch).status == Health.SERVICE_UNKNOWN
        publish_model(catalogue, "late", toy.backbone, ToyHead(seed=5))
        assert next(watch).status == Health.SERVING
        watch.cancel()


def reflect(channel: grpc.Channel, service: str, **question: str) -> reflection_pb2.ServerReflectionResponse:
    """One question to one of the reflection services."""
    call = channel.stream_stream(
        f"/{service}/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    (answer,) = call(iter([reflection_pb2.ServerReflectionRequest(**question)]))
    return answer


@pytest.mark.parametrize("reflection", REFLECTION)
def test_reflection_lists_every_service(channel: grpc.Channel, reflection: str) -> None:
    """Under both names that tools ask for."""
    listed = {s.name for s in reflect(channel, reflection, list_services="").list_services_response.service}
    assert listed == {
        "inference.GRPCInferenceService",
        "headstock.v1.Zoo",
        "grpc.health.v1.Health",
        *REFLECTION,
    }


@pytest.mark.parametrize("reflection", REFLECTION)
@pytest.mark.parametrize(
    "symbol, method",
    [
        ("inference.GRPCInferenceService", "ModelInfer"),
        ("headstock.v1.Zoo", "BackboneStatistics"),
        ("grpc.health.v1.Health", "Check"),
        *((name, "ServerReflectionInfo") for name in REFLECTION),
    ],
)
def test_reflection_describes_every_service(channel: grpc.Channel, reflection: str, symbol: str, method: str) -> None:
    """The Open Inference Protocol too, which lives in a pool of its own."""
    answer = reflect(channel, reflection, file_containing_symbol=symbol)
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(data)
        for data in answer.file_descriptor_response.file_descriptor_proto
    ]
    methods = {
        f"{file.package}.{service.name}": {m.name for m in service.method} for file in files for service in file.service
    }
    assert method in methods[symbol]


def test_reflection_describes_the_error_details(channel: grpc.Channel) -> None:
    """A client without googleapis reads them by these messages."""
    answer = reflect(channel, REFLECTION[0], file_containing_symbol="headstock.v1.ErrorStatus")
    assert answer.file_descriptor_response.file_descriptor_proto


def test_an_unknown_symbol_is_not_found(channel: grpc.Channel) -> None:
    """In the answer, not as a failed call."""
    answer = reflect(channel, REFLECTION[1], file_containing_symbol="nothing.Here")
    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


def test_a_server_whose_scheduler_has_stopped_does_not_say_that_it_serves(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks after it must see that it needs to be started again."""
    publish_toy(catalogue)
    options = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=64))
    request = pb.ModelInferRequest(model_name="sentiment", raw_input_contents=[b"\x05\x00\x00\x00great"])
    request.inputs.add(name="text", datatype="BYTES", shape=[1])
    with background_server(catalogue.settings, options) as server, grpc.insecure_channel(server.address) as channel:
        stub, health = GRPCInferenceServiceStub(channel), health_pb2_grpc.HealthStub(channel)
        assert stub.ModelInfer(request).model_version == "1"
        monkeypatch.setattr(Lane, "pick", None)
        assert stub.ModelInfer.future(request, timeout=10).code() is grpc.StatusCode.UNAVAILABLE
        assert not stub.ServerReady(pb.ServerReadyRequest()).ready
        assert health.Check(health_pb2.HealthCheckRequest()).status == Health.NOT_SERVING
