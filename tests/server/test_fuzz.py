"""Whatever a caller sends is answered or refused as the caller's mistake: never a bug of the server's, never a hang.

HEADSTOCK_FUZZ sets how many requests each test makes up (default 100).
"""

from __future__ import annotations

import http.client
import json
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headstock.oip import open_inference_grpc_pb2 as pb
from headstock.settings import Settings
from headstock_server.app import Running, ServeOptions
from headstock_server.engine import EngineOptions
from headstock_server.testing import background_server

REQUESTS = int(os.environ.get("HEADSTOCK_FUZZ", "100"))
SERVICE = "/inference.GRPCInferenceService/"
CALLERS_FAULT = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED", "DEADLINE_EXCEEDED"}
SECONDS = 10

made_up = settings(
    max_examples=REQUESTS, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@pytest.fixture(scope="module")
def server(toy_settings: Settings) -> Iterator[Running]:
    options = ServeOptions(
        bind="127.0.0.1:0", http="127.0.0.1:0", engine=EngineOptions(token_budget=256), response_cache=1 << 20
    )
    with background_server(toy_settings, options) as running:
        yield running
        assert running.scheduler.statistics().queued_rows == 0
        assert not running.plane.busy


@pytest.fixture(scope="module")
def call(server: Running) -> Iterator[Callable[[str, bytes], tuple[str, bytes | str]]]:
    """Code and answer, or code and message, of one raw call."""
    with grpc.insecure_channel(server.address) as channel:

        def one(method: str, data: bytes) -> tuple[str, bytes | str]:
            try:
                return "OK", channel.unary_unary(SERVICE + method)(data, timeout=SECONDS)
            except grpc.RpcError as error:
                return error.code().name, error.details()

        yield one


# ------------------------------------------------------------------------------------------- what is made up
odd_text = (
    st.sampled_from(
        [
            "",
            "text",
            "sentiment",
            "vectors",
            "production",
            "1",
            "0",
            "-1",
            "01",
            "\u00b2",
            "\u0661",
            "9" * 19,
            "9" * 200,
        ]
    )
    | st.sampled_from(
        ["a:1", "sentiment:1", "\x00", "\n", "\U0001f600" * 90, "input_ids", "attention_mask", "logits", "label"]
    )
    | st.text(max_size=8)
)
sizes = st.sampled_from([0, 1, 1, 2, 3, 8, 128, 129, 1024, 1025, -1, -(2**63), 2**31, 2**40, 2**62, 2**63 - 1])
shapes = st.lists(sizes, max_size=4) | st.sampled_from([[1] * 64, [0] * 33, [2**40, 2**40, 0], [2**62, 0], [0, 2**62]])
datatypes = st.sampled_from(["BYTES", "INT64", "FP32", "FP16", "BF16", "BOOL", "UINT8", "INT8", "FP64", "", "TEXT"])
ITEM = {"INT64": 8, "FP32": 4, "FP16": 2, "BF16": 2, "BOOL": 1, "UINT8": 1, "INT8": 1, "FP64": 8}
parameters = st.sampled_from(
    ["timeout", "priority", "sequence_id", "headers", "licence", "binary_data_output", "triton_x", "tiemout"]
) | st.sampled_from(["triton_enable_empty_final_response", "shared_memory_region", "classification", "binary_data"])
values: st.SearchStrategy[tuple[str, Any]] = st.one_of(
    st.tuples(st.just("bool_param"), st.booleans()),
    st.tuples(st.just("int64_param"), st.sampled_from([0, 1, 2, 3, -1, 50_000, 2**63 - 1, -(2**63)])),
    st.tuples(st.just("uint64_param"), st.sampled_from([0, 1, 2**64 - 1])),
    st.tuples(st.just("double_param"), st.sampled_from([0.5, math.nan, math.inf, 1e308])),
    st.tuples(st.just("string_param"), odd_text),
)


def _set(field: Any, chosen: dict[str, tuple[str, Any]]) -> None:
    for key, (kind, value) in chosen.items():
        setattr(field[key], kind, value)


@st.composite
def raws(draw: st.DrawFn, datatype: str, shape: list[int]) -> bytes:
    """Contents as long as the shape says, or a little off, or framed wrongly."""
    count = math.prod(shape)
    if not 0 <= count <= 4096:
        return draw(st.binary(max_size=32))
    if datatype == "BYTES":
        words = draw(st.lists(st.sampled_from([b"great", b"", b"poison", b"\xff\xfe", b"w5 " * 60]), max_size=4))
        elements = (words * count)[:count] if words else [b"order"] * count
        raw = b"".join(len(e).to_bytes(4, "little") + e for e in elements)
    else:
        raw = draw(st.sampled_from([b"\x00", b"\x01", b"\xff", b"\x05\x00\x00\x00\x00\x00\x00\x00"])) * 8 * count
        raw = raw[: count * ITEM.get(datatype, 4)]
    off = draw(st.sampled_from([0, 0, 0, 0, 1, -1, 4]))
    return raw + bytes(off) if off >= 0 else raw[:off]


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request that is right in most places and wrong in some, now and then with a byte changed or cut off."""
    message = pb.ModelInferRequest(model_name="sentiment", id=draw(odd_text))
    if draw(st.integers(0, 9)) == 0:
        message.model_name = draw(odd_text)
    if draw(st.integers(0, 4)) == 0:
        message.model_version = draw(odd_text)
    for name in draw(
        st.sampled_from(
            [["text"], ["text"], ["input_ids", "attention_mask"], ["text", "text"], [], ["x"], ["text"] * 65]
        )
    ):
        datatype = draw(datatypes) if draw(st.booleans()) else "BYTES" if name == "text" else "INT64"
        shape = draw(shapes) if draw(st.booleans()) else [1] if name == "text" else [1, 3]
        tensor = message.inputs.add(name=name, datatype=datatype, shape=shape)
        how = draw(st.integers(0, 9))
        if how < 8:
            message.raw_input_contents.append(draw(raws(datatype, shape)))
        if how > 6:
            tensor.contents.int64_contents.extend(draw(st.lists(st.sampled_from([0, 1, 5, 2**63 - 1, -1]), max_size=4)))
            tensor.contents.bytes_contents.extend(draw(st.lists(st.binary(max_size=4), max_size=2)))
        if how == 5:
            _set(tensor.parameters, draw(st.dictionaries(parameters, values, max_size=1)))
    for name in draw(st.lists(st.sampled_from(["logits", "label", "probabilities", "logit", ""]), max_size=3)):
        _set(message.outputs.add(name=name).parameters, draw(st.dictionaries(parameters, values, max_size=1)))
    _set(message.parameters, draw(st.dictionaries(parameters, values, max_size=2)))
    data = message.SerializeToString()
    if data and draw(st.integers(0, 4)) == 0:
        at = draw(st.integers(0, len(data) - 1))
        data = draw(
            st.sampled_from([data[:at], data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :], data * 2])
        )
    return data


# ------------------------------------------------------------------------------------------- what must hold
@given(data=requests())
@made_up
def test_a_made_up_request_is_answered_or_refused_with_a_reason(call: Any, data: bytes) -> None:
    code, answer = call("ModelInfer", data)
    assert code in CALLERS_FAULT, (code, answer)
    if code != "OK":
        assert answer
        return
    request, response = pb.ModelInferRequest.FromString(data), pb.ModelInferResponse.FromString(answer)
    assert (response.id, response.model_name, response.model_version) == (request.id, request.model_name, "1")
    assert len(response.raw_output_contents) == len(response.outputs) == (len(request.outputs) or len(response.outputs))
    assert all(output.shape[0] == request.inputs[0].shape[0] for output in response.outputs)


@given(
    method=st.sampled_from(["ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics", "RepositoryModelLoad"]),
    name=odd_text,
    version=odd_text,
)
@made_up
def test_names_and_versions_that_are_none_are_the_callers_mistake(
    call: Any, method: str, name: str, version: str
) -> None:
    if method == "RepositoryModelLoad":
        data = pb.RepositoryModelLoadRequest(model_name=name).SerializeToString()
    else:
        data = pb.ModelReadyRequest(name=name, version=version).SerializeToString()
    code, answer = call(method, data)
    assert code in {*CALLERS_FAULT, "FAILED_PRECONDITION", "PERMISSION_DENIED"}, (code, answer)


HALVES = ['"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"\\u0000"', '"\U0001f600"']
NUMBERS = ["0", "1", "-1", "1.5", "1e400", str(10**30), str(10**400), str(10**4000), "NaN"]
LISTS = ["[]", "[1]", "[0, 1180591620717411303424]", "[[1], [1]]"]
OTHERS = ["null", "true", "{}", '"text"', '"logits"', '"great"', '"BYTES"', '"INT64"', '"FP32"']
scalars = st.sampled_from([*HALVES, *NUMBERS, *LISTS, *OTHERS])
PLACES = {
    "id": '"7"',
    "model_parameter": "1",
    "name": '"text"',
    "datatype": '"BYTES"',
    "shape": "[1]",
    "data": '["great"]',
    "output": '"logits"',
    "classes": "0",
}


def _document(places: dict[str, str], parameter: str) -> str:
    of = {**PLACES, **places}
    named = f'"name": {of["name"]}, "datatype": {of["datatype"]}, "shape": {of["shape"]}, "data": {of["data"]}'
    outputs = f'{{"name": {of["output"]}, "parameters": {{"classification": {of["classes"]}}}}}'
    return (
        f'{{"id": {of["id"]}, "parameters": {{"{parameter}": {of["model_parameter"]}}}, '
        f'"inputs": [{{{named}}}], "outputs": [{outputs}]}}'
    )


@given(
    places=st.dictionaries(st.sampled_from(sorted(PLACES)), scalars, max_size=2),
    parameter=st.sampled_from(["timeout", "priority", "headers", "binary_data_output", "sequence_id", "\\ud800"]),
    cut=st.integers(0, 40),
)
@made_up
def test_made_up_json_is_answered_or_refused_with_a_reason(
    server: Running, places: dict[str, str], parameter: str, cut: int
) -> None:
    text = _document(places, parameter).encode("utf-8", "surrogatepass")
    body = text[: -cut + 30] if cut > 30 else text
    connection = http.client.HTTPConnection(server.http_address, timeout=SECONDS)
    try:
        connection.request("POST", "/v2/models/sentiment/infer", body)
        response = connection.getresponse()
        head = response.getheader("Inference-Header-Content-Length")
        answer = json.loads(response.read()[: None if head is None else int(head)])
    finally:
        connection.close()
    assert response.status in (200, 400, 413, 429, 501, 504), (response.status, answer)
    assert ("error" in answer) == (response.status != 200)
