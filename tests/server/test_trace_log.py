"""TraceSetting and LogSettings: what they change really changes, and no client names a file."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from headstock.catalogue import Catalogue
from headstock.errors import FailedPrecondition
from headstock.oip import open_inference_grpc_pb2 as pb
from headstock.oip.open_inference_grpc_pb2_grpc import GRPCInferenceServiceStub
from headstock.testing.toy import Toy
from headstock_server.app import Running, ServeOptions
from headstock_server.dataplane.log_settings import LOGGERS, LogControl
from headstock_server.dataplane.trace import Tracer
from headstock_server.engine import EngineOptions
from headstock_server.testing import background_server


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """The operator's trace file."""
    return tmp_path / "traces.jsonl"


@pytest.fixture
def server(catalogue: Catalogue, toy: Toy, traces: Path) -> Iterator[Running]:
    """A server that may be set."""
    options = ServeOptions(
        bind="127.0.0.1:0", engine=EngineOptions(token_budget=64), allow_admin=True, trace_file=traces
    )
    with background_server(catalogue.settings, options) as running:
        yield running


@pytest.fixture
def client(server: Running) -> Iterator[triton.InferenceServerClient]:
    """Triton's own client, unchanged."""
    with triton.InferenceServerClient(server.address) as opened:
        yield opened


def infer(client: triton.InferenceServerClient, name: str = "sentiment", request_id: str = "") -> None:
    """One text through one model."""
    tensor = triton.InferInput("text", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([b"great order"], object))
    client.infer(name, [tensor], request_id=request_id)


def refused(call: Any, *arguments: Any, **options: Any) -> str:
    """`CODE message` of a call that must fail."""
    with pytest.raises(InferenceServerException) as caught:
        call(*arguments, **options)
    return f"{caught.value.status().removeprefix('StatusCode.')} {caught.value.message()}"


def settings_of(response: Any) -> dict[str, str]:
    """Trace settings as plain text."""
    return {name: " ".join(setting.value) for name, setting in response.settings.items()}


def lines(file: Path, count: int) -> list[dict[str, Any]]:
    """The traces, once there are that many."""
    end = time.monotonic() + 10
    while len(found := file.read_text().splitlines()) < count:
        assert time.monotonic() < end, f"{len(found)} traces; expected {count}"
        time.sleep(0.01)
    return [json.loads(line) for line in found]


# ------------------------------------------------------------------------------------------- traces
def test_nothing_is_traced_until_somebody_asks(client: triton.InferenceServerClient, traces: Path) -> None:
    """The settings say so."""
    assert settings_of(client.get_trace_settings()) == {
        "trace_level": "OFF",
        "trace_rate": "1000",
        "trace_count": "-1",
    }
    infer(client)
    assert traces.read_text() == ""


def test_a_trace_holds_the_steps_of_a_request_in_order(client: triton.InferenceServerClient, traces: Path) -> None:
    """Monotonic nanoseconds, as Triton names them; and what the request shared its pass with."""
    settings = client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"], "trace_rate": "1"})
    assert settings_of(settings)["trace_level"] == "TIMESTAMPS"
    infer(client, request_id='a"b\n')
    [trace] = lines(traces, 1)
    assert (trace["model_name"], trace["model_version"], trace["request_id"]) == ("sentiment", 1, 'a"b\n')
    assert (trace["rows"], trace["batch_rows"], trace["passes"]) == (1, 1, 1)
    assert [t["name"] for t in trace["timestamps"]] == [
        "REQUEST_START",
        "QUEUE_START",
        "COMPUTE_START",
        "COMPUTE_END",
        "REQUEST_END",
    ]
    times = [t["ns"] for t in trace["timestamps"]]
    assert times == sorted(times)
    assert 0 < times[-1] - times[0] < 60e9


def test_the_rate_takes_every_nth_and_the_count_ends_it(client: triton.InferenceServerClient, traces: Path) -> None:
    """The count that is left is told."""
    client.update_trace_settings(settings={"trace_level": "TIMESTAMPS", "trace_rate": "3", "trace_count": "2"})
    for i in range(12):
        infer(client, request_id=str(i))
    assert [t["request_id"] for t in lines(traces, 2)] == ["2", "5"]
    assert settings_of(client.get_trace_settings())["trace_count"] == "0"


def test_a_model_has_settings_of_its_own_until_they_are_taken_back(
    client: triton.InferenceServerClient, traces: Path
) -> None:
    """The others follow the common ones."""
    client.update_trace_settings("intents", {"trace_level": "TIMESTAMPS", "trace_rate": "1"})
    infer(client, "sentiment")
    infer(client, "intents")
    assert [t["model_name"] for t in lines(traces, 1)] == ["intents"]
    assert settings_of(client.get_trace_settings("sentiment"))["trace_level"] == "OFF"
    cleared = client.update_trace_settings("intents", {"trace_level": None, "trace_rate": None})
    assert settings_of(cleared) == settings_of(client.get_trace_settings())
    infer(client, "intents")
    assert len(lines(traces, 1)) == 1


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"trace_file": "/tmp/mine"}, "'trace_file' is not one that clients set"),
        ({"trace_level": "TENSORS"}, "trace_level is 'TENSORS'; expected one of"),
        ({"trace_rate": "0"}, "expected an integer of 1 or more"),
        ({"trace_rate": "99999999999999999999"}, "expected an integer of 1 or more"),
        ({"trace_count": "-2"}, "expected an integer of -1 or more"),
        ({"trace_rate": "many"}, "expected an integer of 1 or more"),
        ({"trace_rate": "--5"}, "expected an integer of 1 or more"),
        ({"trace_rate": "1" + "0" * 5000}, "expected an integer of 1 or more"),
        ({"trace_rate": "0" * 17 + "1" + "0" * 90}, "expected an integer of 1 or more"),
        ({"trace_rate": ["1", "2"]}, "has 2 values"),
        ({"trace_rate": "5", "speed": "1"}, "'speed' is not one that clients set"),
    ],
)
def test_a_wrong_trace_setting_changes_nothing(
    client: triton.InferenceServerClient, settings: dict[str, Any], message: str
) -> None:
    """INVALID_ARGUMENT, and the right ones beside it are not applied either."""
    before = settings_of(client.get_trace_settings())
    answer = refused(client.update_trace_settings, settings=settings)
    assert answer.startswith("INVALID_ARGUMENT")
    assert message in answer
    assert settings_of(client.get_trace_settings()) == before


def test_the_trace_of_an_unknown_model_is_not_found(client: triton.InferenceServerClient) -> None:
    """Reading and setting alike."""
    assert refused(client.get_trace_settings, "no-such").startswith("NOT_FOUND")
    assert refused(client.update_trace_settings, "no-such", {"trace_rate": "1"}).startswith("NOT_FOUND")


def test_tracing_is_announced_where_there_is_a_file(client: triton.InferenceServerClient) -> None:
    """And the permission."""
    assert "trace" in client.get_server_metadata().extensions


def test_without_a_file_tracing_cannot_be_turned_on() -> None:
    """Clients do not name files; the message says who does."""
    tracer = Tracer(None)
    with pytest.raises(FailedPrecondition, match=r"--trace-file"):
        tracer.update({"trace_level": "TIMESTAMPS"})
    assert tracer.update({"trace_rate": "5"}).trace_rate == 5
    assert not tracer.active


def test_a_trace_file_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    """With its name alone."""
    with pytest.raises(FailedPrecondition, match=r"'traces\.jsonl' cannot be written"):
        Tracer(tmp_path / "no" / "traces.jsonl")


# ------------------------------------------------------------------------------------------- logs
def test_the_verbose_level_makes_every_request_a_line(
    client: triton.InferenceServerClient, caplog: pytest.LogCaptureFixture
) -> None:
    """And 0 ends it."""
    infer(client)
    assert "answered 1 rows" not in caplog.text
    settings = client.update_log_settings({"log_verbose_level": 1})
    assert settings.settings["log_verbose_level"].uint32_param == 1
    infer(client)
    assert "sentiment:1 answered 1 rows" in caplog.text
    caplog.clear()
    client.update_log_settings({"log_verbose_level": 0})
    infer(client)
    assert "answered" not in caplog.text


def test_each_kind_of_line_has_its_switch() -> None:
    """Also the combinations that one level cannot say, and only for our own loggers."""
    root = logging.getLogger()
    seen: list[str] = []

    class Seen(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())

    handler = Seen()
    root.addHandler(handler)
    before = [logging.getLogger(name).level for name in LOGGERS]
    control = LogControl()
    try:
        ours, theirs = logging.getLogger("headstock_server.repository.loader"), logging.getLogger("another")
        control.update({"log_info": True, "log_warning": False, "log_error": True})
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            ours.log(level, "ours %d", level)
        theirs.warning("theirs")
        assert seen == ["ours 20", "ours 40", "theirs"]
        seen.clear()
        control.update({"log_info": False, "log_error": False})
        ours.critical("nothing at all")
        assert seen == []
    finally:
        control.close()
        root.removeHandler(handler)
    assert [logging.getLogger(name).level for name in LOGGERS] == before
    assert control not in handler.filters


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"log_file": "/tmp/mine"}, "'log_file' is the operator's"),
        ({"log_format": "ISO8601"}, "'log_format' is the operator's"),
        ({"log_info": False, "log_everything": True}, "'log_everything' is not known"),
    ],
)
def test_a_wrong_log_setting_changes_nothing(
    client: triton.InferenceServerClient, settings: dict[str, Any], message: str
) -> None:
    """INVALID_ARGUMENT."""
    before = client.get_log_settings()
    answer = refused(client.update_log_settings, settings)
    assert answer.startswith("INVALID_ARGUMENT")
    assert message in answer
    assert client.get_log_settings() == before


def test_a_log_setting_of_another_type_is_refused(server: Running) -> None:
    """A switch is not a number, a level is not a switch."""
    with grpc.insecure_channel(server.address) as channel:
        stub = GRPCInferenceServiceStub(channel)
        for name, field, value in (("log_info", "uint32_param", 1), ("log_verbose_level", "bool_param", True)):
            request = pb.LogSettingsRequest()
            setattr(request.settings[name], field, value)
            with pytest.raises(grpc.RpcError) as caught:
                stub.LogSettings(request)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


# ------------------------------------------------------------------------------------------- permission
def test_without_permission_settings_are_read_and_not_changed(toy_server: Running) -> None:
    """PERMISSION_DENIED with the option that gives it."""
    with triton.InferenceServerClient(toy_server.address) as client:
        assert settings_of(client.get_trace_settings())["trace_level"] == "OFF"
        assert client.get_log_settings().settings["log_file"].string_param == ""
        for answer in (
            refused(client.update_trace_settings, settings={"trace_rate": "1"}),
            refused(client.update_log_settings, {"log_verbose_level": 1}),
        ):
            assert answer.startswith("PERMISSION_DENIED")
            assert "--allow-admin" in answer
        assert not {"trace", "logging"} & set(client.get_server_metadata().extensions)
