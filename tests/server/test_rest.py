"""The protocol's REST form: the same answers, versions and refusals as over gRPC, on a port of its own."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from headstock import __version__
from headstock.catalogue import Catalogue
from headstock.errors import FailedPrecondition, InvalidInput
from headstock.licences.decisions import conclude
from headstock.oip import open_inference_grpc_pb2 as pb
from headstock.oip.open_inference_grpc_pb2_grpc import GRPCInferenceServiceStub
from headstock.settings import Settings
from headstock.testing.toy import Toy
from headstock_server.app import Running, ServeOptions
from headstock_server.dataplane.limits import MIB, LimitExceeded, Limits
from headstock_server.engine import EngineOptions
from headstock_server.scheduler import SchedulerOptions
from headstock_server.testing import background_server
from headstock_server.transport import rest_codec

TEXTS = ["great order thanks", "broken", "where is my refund please"]
INFER = "/v2/models/sentiment/infer"


def options(**changes: Any) -> ServeOptions:
    """A small server with HTTP on a free port."""
    return ServeOptions(
        bind="127.0.0.1:0", http="127.0.0.1:0", engine=EngineOptions(token_budget=256), grace=5.0, **changes
    )


@pytest.fixture(scope="module")
def server(toy_settings: Settings) -> Iterator[Running]:
    """gRPC and HTTP over one data plane."""
    with background_server(toy_settings, options()) as running:
        yield running


class Answer:
    """What came back."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def call(server: Running, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
    """One request on a connection of its own."""
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    with closing(http.client.HTTPConnection(server.http_address, timeout=20)) as connection:
        connection.request(method, path, data, headers or {})
        return Answer(connection.getresponse())


def text_request(texts: list[str] = TEXTS, **fields: Any) -> dict[str, Any]:
    """Texts as JSON."""
    return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}], **fields}


def over_grpc(server: Running, model: str = "sentiment") -> dict[str, np.ndarray]:
    """The answer of the other transport."""
    request = pb.ModelInferRequest(model_name=model)
    request.inputs.add(name="text", datatype="BYTES", shape=[len(TEXTS)])
    raw = b"".join(len(t).to_bytes(4, "little") + t.encode() for t in TEXTS)
    request.raw_input_contents.append(raw)
    with grpc.insecure_channel(server.address) as channel:
        response = GRPCInferenceServiceStub(channel).ModelInfer(request)
    return {
        o.name: np.frombuffer(raw, "<f4").reshape(o.shape)
        for o, raw in zip(response.outputs, response.raw_output_contents, strict=True)
        if o.datatype == "FP32"
    }


# ------------------------------------------------------------------------------------------- what there is
def test_the_server_says_what_it_is_and_that_it_is_ready(server: Running) -> None:
    """Name, version, health."""
    assert call(server, "GET", "/v2").json["name"] == "headstock"
    assert call(server, "GET", "/v2").json["version"] == __version__
    assert call(server, "GET", "/v2/health/live").status == 200
    assert call(server, "GET", "/v2/health/ready").json == {"ready": True}


@pytest.mark.parametrize("path", ["/v2/models/intents", "/v2/models/intents/versions/1"])
def test_a_model_describes_itself(server: Running, path: str) -> None:
    """Metadata, readiness, configuration; with and without a version."""
    metadata = call(server, "GET", path).json
    assert (metadata["name"], metadata["versions"]) == ("intents", ["1"])
    assert {"name": "text", "datatype": "BYTES", "shape": [-1]} in metadata["inputs"]
    assert {"name": "logits", "datatype": "FP32", "shape": [-1, 3]} in metadata["outputs"]
    assert call(server, "GET", f"{path}/ready").json == {"name": "intents", "ready": True}
    config = call(server, "GET", f"{path}/config").json
    assert config["name"] == "intents"
    assert [o["dims"] for o in config["output"] if o["name"] == "logits"] == [[3]]


def test_a_model_that_is_not_there_is_neither_ready_nor_found(server: Running) -> None:
    """503 for readiness, 404 for the rest."""
    assert call(server, "GET", "/v2/models/nothing/ready").status == 503
    for path in ("/v2/models/nothing", "/v2/models/sentiment/versions/9", "/v2/models/nothing/config"):
        answer = call(server, "GET", path)
        assert answer.status == 404
        assert answer.json["error"]


# ------------------------------------------------------------------------------------------- inference
@pytest.mark.parametrize("model", ["sentiment", "intents", "vectors"])
def test_the_answer_is_the_one_of_grpc(server: Running, model: str) -> None:
    """To the last bit of a float that went through JSON."""
    answer = call(server, "POST", f"/v2/models/{model}/infer", text_request(id="call-7"))
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    document = answer.json
    assert (document["model_name"], document["model_version"], document["id"]) == (model, "1", "call-7")
    expected = over_grpc(server, model)
    for output in document["outputs"]:
        if output["datatype"] == "FP32":
            values = np.array(output["data"], np.float32).reshape(output["shape"])
            np.testing.assert_allclose(values, expected[output["name"]], atol=1e-6)
        else:
            assert all(isinstance(label, str) for label in output["data"])


def test_nested_and_flat_lists_mean_the_same(server: Running) -> None:
    """Token ids in rows, or one after the other."""
    logits = []
    for ids, mask in (([[2, 5, 3], [2, 6, 3]], [[1, 1, 1]] * 2), ([2, 5, 3, 2, 6, 3], [1] * 6)):
        tensors = [("input_ids", ids), ("attention_mask", mask)]
        inputs = [{"name": n, "datatype": "INT64", "shape": [2, 3], "data": d} for n, d in tensors]
        answer = call(server, "POST", INFER, {"inputs": inputs, "outputs": [{"name": "logits"}]})
        assert [o["name"] for o in answer.json["outputs"]] == ["logits"]
        logits.append(answer.json["outputs"][0]["data"])
    assert logits[0] == logits[1]


def test_tensors_may_be_binary_both_ways(server: Running) -> None:
    """The header says where the JSON ends; each tensor says how long it is."""
    raw = b"".join(len(t).to_bytes(4, "little") + t.encode() for t in TEXTS)
    head = json.dumps({
        "inputs": [
            {"name": "text", "datatype": "BYTES", "shape": [3], "parameters": {"binary_data_size": len(raw)}}
        ],
        "outputs": [
            {"name": "logits", "parameters": {"binary_data": True}},
            {"name": "label"},
            {"name": "probabilities", "parameters": {"binary_data": True}},
        ],
    }).encode()  # fmt: skip
    header = {"Inference-Header-Content-Length": str(len(head))}
    answer = call(server, "POST", INFER, head + raw, header)
    assert answer.status == 200, answer.body
    size = int(answer.headers["Inference-Header-Content-Length"])
    document, tail = json.loads(answer.body[:size]), answer.body[size:]
    sizes = [o.get("parameters", {}).get("binary_data_size", 0) for o in document["outputs"]]
    assert (sizes, len(tail)) == ([24, 0, 24], 48)
    expected = over_grpc(server)
    np.testing.assert_array_equal(np.frombuffer(tail[:24], "<f4").reshape(3, 2), expected["logits"])
    np.testing.assert_array_equal(np.frombuffer(tail[24:], "<f4").reshape(3, 2), expected["probabilities"])
    assert len(document["outputs"][1]["data"]) == 3


def test_all_outputs_may_be_asked_for_in_binary(server: Running) -> None:
    """But for those that say otherwise."""
    body = text_request(parameters={"binary_data_output": True})
    answer = call(server, "POST", INFER, body)
    document = json.loads(answer.body[: int(answer.headers["Inference-Header-Content-Length"])])
    assert all("data" not in o for o in document["outputs"])
    body["outputs"] = [{"name": "label", "parameters": {"binary_data": False}}]
    assert call(server, "POST", INFER, body).json["outputs"][0]["data"]


def test_classification_answers_the_best_classes(server: Running) -> None:
    """As text."""
    outputs = [{"name": "logits", "parameters": {"classification": 1}}]
    [output] = call(server, "POST", INFER, text_request(outputs=outputs)).json["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [3, 1])
    assert all(best.split(":")[2] in ("negative", "positive") for best in output["data"])


# ------------------------------------------------------------------------------------------- refusals
INPUT = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["great"]}
IDS = {"name": "input_ids", "datatype": "INT64", "shape": [1, 3], "data": [2, 5, 3]}


@pytest.mark.parametrize(
    "body, message",
    [
        (b"{", "not JSON"),
        (b"[]", "the body is not a JSON object"),
        (b"[" * 100_000, "not JSON"),
        (b'{"inputs": [NaN]}', "not JSON"),
        ({"inputs": {}}, "inputs is missing or not a JSON list"),
        ({"inputs": [INPUT], "input": []}, "'input', which is not known"),
        ({"inputs": [{**INPUT, "shape": ["1"]}]}, "something else than integers"),
        ({"inputs": [{**INPUT, "shape": [True]}]}, "something else than integers"),
        ({"inputs": [{**INPUT, "shape": [-1]}]}, "sizes of 0 or more"),
        ({"inputs": [{**INPUT, "data": [7]}]}, "something else than BYTES"),
        ({"inputs": [{**INPUT, "data": ["a", "b"]}]}, "holds 2 elements; expected 1"),
        ({"inputs": [{**INPUT, "data": None}]}, "missing or not a JSON list"),
        ({"inputs": [{**IDS, "data": [2.5, 5, 3]}]}, "something else than INT64"),
        ({"inputs": [{**IDS, "data": [True, 5, 3]}]}, "something else than INT64"),
        ({"inputs": [{**IDS, "data": [2**70, 5, 3]}]}, "a value that INT64 cannot"),
        ({"inputs": [{**IDS, "data": [[2, 5], 3]}]}, "something else than INT64"),
        ({"inputs": [{**IDS, "datatype": "FP16"}]}, "FP16 has no JSON form"),
        ({"inputs": [{**IDS, "datatype": "INT128"}]}, "'INT128'"),
        ({"inputs": [{**IDS, "parameters": {"shared_memory_region": "r"}}]}, "'shared_memory_region'"),
        ({"inputs": [{**IDS, "parameters": {"binary_data_size": 4}}]}, "0 bytes are left"),
        ({"inputs": [INPUT], "id": 7}, "the id is not a string"),
        ({"inputs": [INPUT], "parameters": {"timeout": [1]}}, "neither a number, a string nor a truth value"),
        ({"inputs": [INPUT], "parameters": {"tiemout": 1}}, "'tiemout' is not known"),
        ({"inputs": [INPUT], "outputs": [{"name": "logit"}]}, "output 'logit'"),
        ({"inputs": [INPUT], "outputs": [{"name": "logits", "parameters": {"classification": "x"}}]}, "classification"),
        ({"inputs": []}, "expected either 'text'"),
        ({"inputs": [INPUT], "parameters": {"timeout": 10**400}}, "below 2**64"),
        (b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["\\ud800"]}]}', "is not JSON"),
        (b'{"inputs": [{"name": "text", "datatype": "\xed\xa0\x80", "shape": [1], "data": ["x"]}]}', "is not JSON"),
        ('{"id": "\ud7ff"}'.encode("utf-16"), "is not JSON"),
    ],
)
def test_a_wrong_request_is_refused_with_what_was_expected(server: Running, body: Any, message: str) -> None:
    """400, as JSON."""
    answer = call(server, "POST", INFER, body)
    assert answer.status == 400
    assert message in answer.json["error"]


def test_a_whole_character_may_be_written_as_two_halves(server: Running) -> None:
    """As JSON writers do that know no other than ASCII."""
    body = json.dumps(text_request(["great \U0001f600"])).encode()
    assert b"\\ud83d\\ude00" in body
    assert call(server, "POST", INFER, body).status == 200


@pytest.mark.parametrize("version", ["%C2%B2", "9" * 19, "9" * 250, "%D9%A1"])
def test_a_version_that_can_be_none_is_the_callers_mistake(server: Running, version: str) -> None:
    """Digits of other scripts, exponents, and numbers that no database holds."""
    answer = call(server, "POST", f"/v2/models/sentiment/versions/{version}/infer", text_request())
    assert answer.status == 400
    assert "version" in answer.json["error"] or "alias" in answer.json["error"]


@pytest.mark.parametrize("size", ["-1", "9999", "many", "1e2"])
def test_a_wrong_header_length_is_refused(server: Running, size: str) -> None:
    """It cannot be longer than the body."""
    answer = call(server, "POST", INFER, text_request(), {"Inference-Header-Content-Length": size})
    assert answer.status == 400
    assert "Inference-Header-Content-Length" in answer.json["error"]


def test_bytes_that_belong_to_no_tensor_are_refused(server: Running) -> None:
    """The sender meant something by them."""
    head = json.dumps(text_request()).encode()
    answer = call(server, "POST", INFER, head + b"xx", {"Inference-Header-Content-Length": str(len(head))})
    assert answer.status == 400
    assert f"its inputs end at byte {len(head)}" in answer.json["error"]


def test_other_failures_have_the_status_that_belongs_to_them(server: Running) -> None:
    """No such model, no such path, no such method, compressed."""
    assert call(server, "POST", "/v2/models/nothing/infer", text_request()).status == 404
    assert call(server, "POST", "/v2/models/sentiment:1/infer", text_request()).status == 400
    assert call(server, "GET", "/v3").status == 404
    assert call(server, "GET", INFER).status == 405
    assert call(server, "POST", INFER, text_request(), {"Content-Encoding": "gzip"}).status == 400
    sequence = call(server, "POST", INFER, text_request(parameters={"sequence_id": 7}))
    assert sequence.status == 501


def test_more_than_the_limits_is_refused_before_it_costs_memory() -> None:
    """An empty list costs thirty times its text."""
    limits = Limits(elements=100)
    with pytest.raises(LimitExceeded, match="more than 100 elements"):
        rest_codec.decode(b"[" + b"[]," * 300 + b"[]]", None, "m", "", limits)
    body = json.dumps({"inputs": [{"name": str(i)} for i in range(65)]}).encode()
    with pytest.raises(LimitExceeded, match="65 inputs"):
        rest_codec.decode(body, None, "m", "", Limits())


def test_a_body_over_the_limit_and_a_full_queue_say_which_it_was(catalogue: Catalogue, toy: Toy) -> None:
    """413 never fits, 429 fits later."""
    small = options(limits=Limits(message_bytes=MIB), scheduler=SchedulerOptions(queue_rows=2))
    with background_server(catalogue.settings, small) as server:
        assert call(server, "POST", INFER, b" " * (2 * MIB)).status == 413
        server.scheduler.hold(1000)
        waiting = threading.Thread(target=call, args=(server, "POST", INFER, text_request(TEXTS[:2])))
        waiting.start()
        while server.scheduler.statistics().queued_rows < 2:
            assert waiting.is_alive()
        full = call(server, "POST", INFER, text_request(TEXTS[:1]))
        server.scheduler.hold(0)
        waiting.join()
    assert full.status == 429
    assert int(full.headers["Retry-After"]) >= 1
    assert "the queue is full" in full.json["error"]


def test_a_caller_that_leaves_takes_its_rows_with_it(catalogue: Catalogue, toy: Toy) -> None:
    """No pass is spent on them."""
    with background_server(catalogue.settings, options()) as server:
        server.scheduler.hold(1000)
        data = json.dumps(text_request()).encode()
        host, _, port = server.http_address.rpartition(":")
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
            connection.sendall(head.encode() + data)
            end = time.monotonic() + 10
            while not server.plane.busy:
                assert time.monotonic() < end
        while server.plane.busy:
            assert time.monotonic() < end
            time.sleep(0.01)
        server.scheduler.hold(0)


def test_a_licence_warning_travels_in_a_header(catalogue: Catalogue, toy: Toy) -> None:
    """As it does in gRPC's trailing metadata; a model without one has no header."""
    with background_server(catalogue.settings, options()) as server:
        assert "headstock-licence-warning" not in call(server, "POST", INFER, text_request()).headers
    conclude(catalogue, toy.backbone.subject, "CC-BY-NC-4.0", "decided for the test")
    with background_server(catalogue.settings, options()) as server:
        warning = call(server, "POST", INFER, text_request()).headers["headstock-licence-warning"]
    assert "CC-BY-NC-4.0" in warning


# ------------------------------------------------------------------------------------------- the port
def test_http_is_off_unless_asked_for(toy_server: Running) -> None:
    """No port is opened."""
    assert toy_server.http_address == ""


@pytest.mark.parametrize("address", ["0.0.0.0:0", "example.org:80", "8080", "unix:/tmp/socket"])
def test_http_listens_on_this_machine_only(toy_settings: Settings, address: str) -> None:
    """The same rule as for gRPC; and no sockets in the file system."""
    with pytest.raises(InvalidInput), background_server(toy_settings, ServeOptions(bind="127.0.0.1:0", http=address)):
        pass


def test_a_taken_port_stops_the_start(server: Running, toy_settings: Settings) -> None:
    """With what to type instead."""
    taken = ServeOptions(bind="127.0.0.1:0", http=server.http_address, engine=EngineOptions(token_budget=64))
    with pytest.raises(FailedPrecondition, match="--http"), background_server(toy_settings, taken):
        pass


def test_the_command_serves_both_and_says_where(toy_settings: Settings, tmp_path: Path) -> None:
    """gRPC first, HTTP on a line of its own; SIGTERM ends both with exit code 0."""
    environment = {**os.environ, "HEADSTOCK_HOME": str(toy_settings.home), "HEADSTOCK_ACTOR": "tester"}
    line = [sys.executable, "-m", "headstock_server", "--bind", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    line += ["--allow-admin", "--trace-file", str(tmp_path / "traces.jsonl")]
    process = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        addresses = [process.stdout.readline().removeprefix("listening on ").strip() for _ in range(2)]
        assert addresses[1].startswith("http://127.0.0.1:")
        with closing(http.client.HTTPConnection(addresses[1].removeprefix("http://"), timeout=20)) as connection:
            connection.request("GET", "/v2/models/sentiment/ready")
            assert connection.getresponse().status == 200
        with grpc.insecure_channel(addresses[0]) as channel:
            metadata = GRPCInferenceServiceStub(channel).ServerMetadata(pb.ServerMetadataRequest())
        assert {"model_repository", "logging", "trace"} <= set(metadata.extensions)
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        errors = process.communicate()[1]
    assert "Traceback" not in errors
