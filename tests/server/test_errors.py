"""Every failure reaches the caller as one code with machine-readable details, and tells nothing about this machine."""

from __future__ import annotations

import logging
from pathlib import Path
from urllib.parse import quote

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from headstock import errors
from headstock.catalogue import Catalogue
from headstock.names import Reference
from headstock.oip import open_inference_grpc_pb2 as pb
from headstock.oip.open_inference_grpc_pb2_grpc import GRPCInferenceServiceStub
from headstock.settings import Settings
from headstock.testing.toy import publish_toy
from headstock_server.app import Running, ServeOptions
from headstock_server.dataplane.limits import LimitExceeded
from headstock_server.engine import EngineOptions
from headstock_server.scheduler import SchedulerOptions
from headstock_server.testing import background_server
from headstock_server.transport.status import TABLE, failure_of

CODES = {
    errors.InvalidInput: "INVALID_ARGUMENT",
    errors.NotFound: "NOT_FOUND",
    errors.AlreadyExists: "ALREADY_EXISTS",
    errors.Conflict: "ABORTED",
    errors.FailedPrecondition: "FAILED_PRECONDITION",
    errors.PermissionDenied: "PERMISSION_DENIED",
    errors.LicenceRefused: "PERMISSION_DENIED",
    errors.DigestMismatch: "FAILED_PRECONDITION",
    errors.Corrupt: "DATA_LOSS",
    errors.Exhausted: "RESOURCE_EXHAUSTED",
    LimitExceeded: "RESOURCE_EXHAUSTED",
    errors.Unavailable: "UNAVAILABLE",
    errors.DeadlineExceeded: "DEADLINE_EXCEEDED",
    errors.Unsupported: "UNIMPLEMENTED",
    errors.PluginError: "INTERNAL",
    errors.HeadstockError: "INTERNAL",
}


@pytest.mark.parametrize("kind", CODES, ids=lambda kind: kind.__name__)
def test_every_domain_error_has_one_code(kind: type[errors.HeadstockError]) -> None:
    """The whole table."""
    assert failure_of(kind("what went wrong")).code.name == CODES[kind]


def test_the_table_has_every_error_that_a_caller_can_act_on() -> None:
    """A new error class needs a row, as itself or as a kind of another, or is the server's own fault."""
    public = {e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.HeadstockError)}
    assert {e for e in public if not set(e.__mro__) & set(TABLE)} == {errors.HeadstockError, errors.PluginError}


def test_an_unforeseen_error_shows_an_id_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    """The traceback is in the log, under that id."""
    with caplog.at_level(logging.ERROR):
        failure = failure_of(ValueError("secret /etc/passwd"))
    assert failure.code is grpc.StatusCode.INTERNAL
    assert "secret" not in failure.message
    error_id = failure.message.split()[2].rstrip(";")
    assert error_id in caplog.text
    assert "secret /etc/passwd" in caplog.text


def test_the_fix_is_in_the_message_and_in_the_details() -> None:
    """For people and for programs."""
    failure = failure_of(errors.NotFound("there is no 'x'", fix="headstock list"))
    assert failure.message == "there is no 'x' (try: headstock list)"
    assert b"headstock list" in failure.trailers[0][1]


def test_a_message_of_whatever_the_caller_wrote_fits_into_what_clients_take() -> None:
    """gRPC writes three characters for each byte that is not ASCII, and clients drop more than 8 KiB."""
    for letter in "a\u00e9\u20ac\U0001f600":
        failure = failure_of(errors.InvalidInput(letter * 5000, fix=letter * 5000))
        assert (
            len(quote(failure.message)) + sum(2 * len(key) + 4 * len(value) / 3 for key, value in failure.trailers)
            < 7000
        )
        assert failure.message == letter * len(failure.message)


# ------------------------------------------------------------------------------------------- over the wire
def request(name: str = "sentiment", text: bytes = b"great", rows: int = 1) -> pb.ModelInferRequest:
    """A good request."""
    raw = (len(text).to_bytes(4, "little") + text) * rows
    message = pb.ModelInferRequest(model_name=name, raw_input_contents=[raw])
    message.inputs.add(name="text", datatype="BYTES", shape=[rows])
    return message


def failed(server: Running, message: pb.ModelInferRequest) -> grpc.RpcError:
    """The error of a call that must fail."""
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as caught:
        GRPCInferenceServiceStub(channel).ModelInfer(message)
    return caught.value


def details(error: grpc.RpcError, kind: type) -> object:
    """The error detail of that type."""
    for detail in rpc_status.from_call(error).details:
        found = kind()
        if detail.Unpack(found):
            return found
    raise AssertionError(f"no {kind.__name__} in the details")


def test_a_full_queue_says_when_to_come_back(catalogue: Catalogue) -> None:
    """RESOURCE_EXHAUSTED with RetryInfo and ErrorInfo, at once."""
    publish_toy(catalogue)
    options = ServeOptions(
        bind="127.0.0.1:0", engine=EngineOptions(token_budget=64), scheduler=SchedulerOptions(queue_rows=2)
    )
    with background_server(catalogue.settings, options) as server:
        server.scheduler.hold(1000)
        with grpc.insecure_channel(server.address) as channel:
            stub = GRPCInferenceServiceStub(channel)
            waiting = stub.ModelInfer.future(request(rows=2))
            while server.scheduler.statistics().queued_rows < 2:
                assert not waiting.done()
            error, never = failed(server, request()), failed(server, request(rows=1025))
            server.scheduler.hold(0)
            assert waiting.result().model_version == "1"
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "the queue is full: 2 rows" in error.details()
    assert details(error, error_details_pb2.RetryInfo).retry_delay.ToTimedelta().total_seconds() > 0  # type: ignore[attr-defined]
    info = details(error, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == ("EXHAUSTED", "headstock")  # type: ignore[attr-defined]
    # What no queue will ever take is not told to come back.
    assert details(never, error_details_pb2.ErrorInfo).reason == "LIMIT_EXCEEDED"  # type: ignore[attr-defined]
    assert not any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in rpc_status.from_call(never).details)


def test_a_corrupt_blob_is_refused_by_name_and_without_a_path(catalogue: Catalogue) -> None:
    """The other models on the backbone are served."""
    toy = publish_toy(catalogue)
    head = catalogue.artefact(toy.models["intents"].subject).identity["head"]
    path: Path = catalogue.store.path(catalogue.artefact(head).files["parameters"])
    path.chmod(0o644)
    path.write_bytes(b"not what it was")
    options = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=64))
    with background_server(catalogue.settings, options) as server:
        error = failed(server, request("intents"))
        with grpc.insecure_channel(server.address) as channel:
            assert GRPCInferenceServiceStub(channel).ModelInfer(request()).model_version == "1"
    assert error.code() is grpc.StatusCode.DATA_LOSS
    assert "head of intents:1" in error.details()
    assert "holds other bytes" in error.details()
    assert str(catalogue.settings.home) not in error.details()
    assert "/" not in error.details().replace("sha256/", "")


def test_a_model_that_cannot_load_stops_a_strict_server(catalogue: Catalogue) -> None:
    """Otherwise the others would be served and no one would notice."""
    toy = publish_toy(catalogue)
    head = catalogue.artefact(toy.models["intents"].subject).identity["head"]
    path = catalogue.store.path(catalogue.artefact(head).files["parameters"])
    path.chmod(0o644)
    path.write_bytes(b"not what it was")
    options = ServeOptions(bind="127.0.0.1:0", strict=True, engine=EngineOptions(token_budget=64))
    with pytest.raises(errors.Corrupt, match="head of intents:1"), background_server(catalogue.settings, options):
        pass


def test_a_port_that_is_taken_is_refused_with_a_way_out(toy_server: Running, toy_settings: Settings) -> None:
    """Two servers on one port would each get half of the calls."""
    options = ServeOptions(bind=toy_server.address, engine=EngineOptions(token_budget=64))
    with pytest.raises(errors.FailedPrecondition, match="cannot listen on"), background_server(toy_settings, options):
        pass


def test_names_with_control_characters_come_back_escaped(toy_server: Running) -> None:
    """A message or a log line must not become two."""
    error = failed(toy_server, request("a\nb\x1b[31m"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "\n" not in error.details()
    assert "\x1b" not in error.details()


def test_a_certificate_that_forbids_sharing_still_serves_alone(catalogue: Catalogue) -> None:
    """A leaky backbone's rows ride alone instead of leaking."""
    publish_toy(catalogue, leaky=True)
    options = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=64))
    with background_server(catalogue.settings, options) as server, grpc.insecure_channel(server.address) as channel:
        stub = GRPCInferenceServiceStub(channel)
        assert stub.ModelInfer(request(rows=3)).model_version == "1"
        (lane,) = server.scheduler.statistics().backbones.values()
        assert (lane.rows, lane.passes) == (3, 3)
    assert catalogue.version(Reference("sentiment")).number == 1
