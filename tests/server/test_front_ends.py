"""`serve --front-ends N`: processes that speak gRPC in front of the one that runs models."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_status import rpc_status
from hypothesis import given
from hypothesis import strategies as st

from headstock.catalogue import Catalogue
from headstock.errors import FailedPrecondition, InvalidInput
from headstock.licences import Context, verdict
from headstock.licences.decisions import conclude
from headstock.oip import open_inference_grpc_pb2 as pb
from headstock.oip.open_inference_grpc_pb2_grpc import GRPCInferenceServiceStub
from headstock.settings import Settings
from headstock.testing.toy import publish_toy
from headstock.v1 import zoo_pb2
from headstock.v1.zoo_pb2_grpc import ZooStub
from headstock_client import Client, ClientError
from headstock_server.app import Running, ServeOptions
from headstock_server.dataplane.limits import Limits
from headstock_server.engine import EngineOptions
from headstock_server.frontend import frame
from headstock_server.testing import background_server

OPTIONS = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=256), front_ends=2, lame_duck=0.0)
TEXTS = ["good", "bad and long", "", "the parcel"]


@pytest.fixture(scope="module")
def fronted(toy_settings: Settings) -> Iterator[Running]:
    """A server with two front ends."""
    with background_server(toy_settings, OPTIONS) as server:
        yield server


def children(of: int) -> list[int]:
    """Front ends that `of` started and that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        # Processes come and go while they are counted.
        with suppress(OSError):
            if entry.name.isdigit() and b"headstock_server.frontend" in (entry / "cmdline").read_bytes():
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                found += [int(entry.name)] if int(parent) == of else []
    return found


metadata = st.lists(
    st.tuples(st.from_regex(r"[a-z][a-z0-9_.-]{0,20}", fullmatch=True), st.text(max_size=20)), max_size=4
).map(lambda entries: [(k, v.encode() if k.endswith("-bin") else v) for k, v in entries])


@given(st.text(max_size=30), st.none() | st.floats(0, 1e6), metadata, st.none() | st.binary(max_size=50))
def test_an_opening_comes_out_as_it_went_in(
    path: str, remaining: float | None, entries: frame.Metadata, message: bytes | None
) -> None:
    opening = frame.Opening(path, remaining, entries, message)
    assert frame.unpack_opening(b"".join(frame.pack_opening(opening))) == opening


@given(st.integers(0, 16), st.text(max_size=30), metadata, st.none() | st.binary(max_size=50))
def test_an_ending_comes_out_as_it_went_in(
    code: int, details: str, entries: frame.Metadata, message: bytes | None
) -> None:
    ending = frame.Ending(code, details, entries, message)
    assert frame.unpack_ending(b"".join(frame.pack_ending(ending))) == ending


def test_answers_have_the_bits_of_a_server_without_front_ends(fronted: Running, toy_server: Running) -> None:
    with Client(fronted.address) as through, Client(toy_server.address) as direct:
        for model in ("sentiment", "intents"):
            assert through.classify(model, TEXTS) == direct.classify(model, TEXTS)
        np.testing.assert_array_equal(through.embed("vectors", TEXTS), direct.embed("vectors", TEXTS))


def test_an_error_keeps_its_code_words_and_details(fronted: Running, toy_server: Running) -> None:
    raised = []
    for server in (fronted, toy_server):
        with Client(server.address) as client, pytest.raises(ClientError) as error:
            client.classify("sentimnt", ["good"])
        raised.append(error.value)
    assert type(raised[0]) is type(raised[1])
    assert str(raised[0]) == str(raised[1])
    assert "sentiment" in str(raised[0])


def test_licence_evidence_survives_the_way_through_a_front_end(tmp_path: Path) -> None:
    """A refusal keeps reason and proof, an answer its warning, and the tenant's name arrives."""
    settings = Settings.from_environment({"HEADSTOCK_HOME": str(tmp_path / "home"), "HEADSTOCK_ACTOR": "tester"})
    with Catalogue.open(settings) as catalogue:
        toy = publish_toy(catalogue, ("sentiment",))
        conclude(catalogue, toy.backbone.subject, "CC-BY-NC-4.0", "decided for the test")
        proof = verdict(catalogue, toy.models["sentiment"].subject, Context("commercial")).proof_id
    (settings.home / "policy.toml").write_text('[tenants.shop]\npurpose = "commercial"\n')
    request = pb.ModelInferRequest(model_name="sentiment", raw_input_contents=[b"\x05\x00\x00\x00great"])
    request.inputs.add(name="text", datatype="BYTES", shape=[1])
    shop = (("headstock-tenant", "shop"),)
    with (
        background_server(settings, replace(OPTIONS, front_ends=1)) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = GRPCInferenceServiceStub(channel)
        _, call = stub.ModelInfer.with_call(request)
        warning = dict(call.trailing_metadata())["headstock-licence-warning"]
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(request, metadata=shop)
        (streamed,) = stub.ModelStreamInfer(iter([request]), metadata=shop)
        told = ZooStub(channel).Provenance(zoo_pb2.ProvenanceRequest(name="sentiment"), metadata=shop)
    assert warning.startswith("serving 'sentiment:1': the licence verdict is unknown: backbone toy: CC-BY-NC-4.0")
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in rpc_status.from_call(caught.value).details)
    assert (info.reason, info.metadata["proof_id"]) == ("LICENCE_REFUSED", proof)
    assert "is refused: the licence verdict is deny" in streamed.error_message
    assert (told.refused.partition(":")[0], told.use) == ("serving 'sentiment", "for commercial use to self")


def test_a_method_that_nobody_offers_is_unimplemented(fronted: Running) -> None:
    with grpc.insecure_channel(fronted.address) as channel, pytest.raises(grpc.RpcError) as error:
        channel.unary_unary("/no.Such/Method")(b"")
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_stream_longer_than_its_window_is_answered_in_order(fronted: Running) -> None:
    def request(number: int) -> pb.ModelInferRequest:
        message = pb.ModelInferRequest(model_name="sentiment", id=str(number))
        message.inputs.add(name="text", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"good")
        return message

    with grpc.insecure_channel(fronted.address) as channel:
        answers = GRPCInferenceServiceStub(channel).ModelStreamInfer(request(n) for n in range(100))
        assert [answer.infer_response.id for answer in answers] == [str(n) for n in range(100)]


def test_a_watch_ends_when_its_caller_leaves(fronted: Running) -> None:
    with grpc.insecure_channel(fronted.address) as channel:
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(
            health_pb2.HealthCheckRequest().SerializeToString()
        )
        assert health_pb2.HealthCheckResponse.FromString(next(watch)).status == 1
        watch.cancel()
        with pytest.raises(grpc.RpcError):
            next(watch)


def test_a_deadline_ends_a_call_that_would_go_on(fronted: Running) -> None:
    with grpc.insecure_channel(fronted.address) as channel:
        request = health_pb2.HealthCheckRequest().SerializeToString()
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(request, timeout=0.5)
        next(watch)
        with pytest.raises(grpc.RpcError) as error:
            next(watch)
    assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_message_of_many_pieces_is_put_together(fronted: Running) -> None:
    """So many bytes do not pass through a socket in one read."""
    texts = ["word " * 18_000] * 10
    with Client(fronted.address) as client:
        assert len(client.classify("sentiment", texts)) == 10


def test_a_message_over_the_limit_is_refused_by_the_front_end(toy_settings: Settings) -> None:
    options = replace(OPTIONS, front_ends=1, limits=Limits(message_bytes=1 << 20))
    with background_server(toy_settings, options) as server, grpc.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.RpcError) as error:
            channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(b"x" * (2 << 20))
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_many_callers_at_once_each_get_their_own_answer(fronted: Running) -> None:
    texts = [f"word{n} and {n * n}" for n in range(40)]
    with Client(fronted.address) as client:
        alone = [client.classify("intents", [text]) for text in texts]
    wrong = []

    def call(offset: int) -> None:
        with Client(fronted.address) as client:
            for n in range(len(texts)):
                index = (n + offset) % len(texts)
                if client.classify("intents", [texts[index]]) != alone[index]:
                    wrong.append(index)

    threads = [threading.Thread(target=call, args=(5 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_front_end_that_dies_is_replaced(toy_settings: Settings) -> None:
    before = set(children(os.getpid()))
    with background_server(toy_settings, replace(OPTIONS, front_ends=1)) as server:
        (first,) = set(children(os.getpid())) - before
        os.kill(first, signal.SIGKILL)
        with Client(server.address) as client:
            end = time.monotonic() + 30
            while True:
                try:
                    assert client.classify("sentiment", ["good"])
                    break
                except ClientError:
                    assert time.monotonic() < end, "no front end took the place of the killed one"
                    time.sleep(0.1)
        assert first not in children(os.getpid())


def test_a_front_end_that_a_service_manager_stops_with_the_server_brings_the_last_answers_out(
    toy_settings: Settings,
) -> None:
    """systemd sends SIGTERM to every process of a service; which of them is the server it does not ask."""
    before = set(children(os.getpid()))
    with background_server(toy_settings, replace(OPTIONS, front_ends=1)) as server:
        (front_end,) = set(children(os.getpid())) - before
        server.scheduler.hold(1000)
        message = pb.ModelInferRequest(model_name="sentiment")
        message.inputs.add(name="text", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"good")
        with grpc.insecure_channel(server.address) as channel:
            waiting = GRPCInferenceServiceStub(channel).ModelInfer.future(message, timeout=20)
            while not server.scheduler.statistics().queued_rows:
                assert not waiting.done()
            os.kill(front_end, signal.SIGTERM)
            time.sleep(1.5)
            server.scheduler.hold(0)
            assert waiting.result().model_version == "1"
        assert front_end in children(os.getpid())


def test_no_process_is_left_when_the_server_stops(toy_settings: Settings) -> None:
    before = set(children(os.getpid()))
    with background_server(toy_settings, OPTIONS):
        assert len(set(children(os.getpid())) - before) == 2
    assert set(children(os.getpid())) == before


def test_a_port_that_is_taken_is_refused(toy_settings: Settings, fronted: Running) -> None:
    """Although the kernel would share it."""
    with (
        pytest.raises(FailedPrecondition, match="port is taken"),
        background_server(toy_settings, replace(OPTIONS, bind=fronted.address)),
    ):
        pass


def test_a_socket_in_the_file_system_cannot_be_shared(toy_settings: Settings, tmp_path: Path) -> None:
    options = replace(OPTIONS, bind=f"unix:{tmp_path / 'socket'}")
    with pytest.raises(InvalidInput, match="--bind HOST:PORT"), background_server(toy_settings, options):
        pass


def test_a_front_end_loads_neither_onnxruntime_nor_the_catalogue() -> None:
    """It is there to parse gRPC, N times: what it does not need costs N times its memory."""
    code = (
        "import sys, headstock_server.frontend.process\n"
        "print([m for m in ('onnxruntime', 'sqlalchemy', 'tokenizers', 'numpy', 'torch') if m in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
