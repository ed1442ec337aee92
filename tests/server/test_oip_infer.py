"""ModelInfer over a real socket: tritonclient and hand-made messages, text and token ids, subsets, classes, errors."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from headstock.catalogue import Catalogue
from headstock.names import Reference
from headstock.oip import open_inference_grpc_pb2 as pb
from headstock.oip.open_inference_grpc_pb2_grpc import GRPCInferenceServiceStub
from headstock.predictor import Predictor
from headstock.settings import Settings
from headstock.testing.toy import MAX_LENGTH, VOCABULARY
from headstock_server.app import Running

TEXTS = ["great order thanks", "broken", "where is my refund please"]


@pytest.fixture(scope="module")
def client(toy_server: Running) -> Iterator[triton.InferenceServerClient]:
    """Triton's own client, unchanged."""
    with triton.InferenceServerClient(toy_server.address) as opened:
        yield opened


@pytest.fixture(scope="module")
def stub(toy_server: Running) -> Iterator[GRPCInferenceServiceStub]:
    """For messages that no client would send."""
    with grpc.insecure_channel(toy_server.address) as channel:
        yield GRPCInferenceServiceStub(channel)


def text_input(texts: list[str], shape: list[int] | None = None) -> triton.InferInput:
    """`text` BYTES [n]."""
    tensor = triton.InferInput("text", shape or [len(texts)], "BYTES")
    tensor.set_data_from_numpy(np.array([t.encode() for t in texts], object).reshape(shape or [len(texts)]))
    return tensor


def ids_inputs(texts: list[str]) -> list[triton.InferInput]:
    """The same texts as token ids, padded."""
    rows = [[2, *(VOCABULARY.index(w) for w in t.split()), 3] for t in texts]
    longest = max(map(len, rows))
    ids = np.array([r + [0] * (longest - len(r)) for r in rows], np.int64)
    mask = np.array([[1] * len(r) + [0] * (longest - len(r)) for r in rows], np.int64)
    inputs = []
    for name, values in (("input_ids", ids), ("attention_mask", mask)):
        tensor = triton.InferInput(name, list(values.shape), "INT64")
        tensor.set_data_from_numpy(values)
        inputs.append(tensor)
    return inputs


def here(settings: Settings, name: str, texts: list[str]) -> dict[str, Any]:
    """The answer without any server."""
    with Catalogue.open(settings) as catalogue:
        return Predictor.open(catalogue, Reference(name)).predict(texts).outputs


@pytest.mark.parametrize("name", ["sentiment", "intents"])
@pytest.mark.parametrize("kind", ["text", "column", "ids"])
def test_the_server_answers_what_the_model_answers_in_process(
    client: triton.InferenceServerClient, toy_settings: Settings, name: str, kind: str
) -> None:
    """Texts, texts as a column, and ready token ids; logits, probabilities and labels."""
    inputs = {
        "text": lambda: [text_input(TEXTS)],
        "column": lambda: [text_input(TEXTS, [3, 1])],
        "ids": lambda: ids_inputs(TEXTS),
    }[kind]()
    expected = here(toy_settings, name, TEXTS)
    result = client.infer(name, inputs)
    for output in ("logits", "probabilities"):
        np.testing.assert_allclose(result.as_numpy(output), expected[output], atol=1e-5)
    assert result.as_numpy("label").tolist() == expected["label"].tolist()


def test_an_embedding_model_answers_unit_vectors(client: triton.InferenceServerClient, toy_settings: Settings) -> None:
    """FP32 [n, d], as in process."""
    vectors = client.infer("vectors", [text_input(TEXTS)]).as_numpy("embedding")
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, here(toy_settings, "vectors", TEXTS)["embedding"], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_the_request_id_comes_back_with_the_version_that_answered(client: triton.InferenceServerClient) -> None:
    """Also when no version was asked for."""
    response = client.infer("sentiment", [text_input(["great"])], request_id="call-7").get_response()
    assert (response.id, response.model_name, response.model_version) == ("call-7", "sentiment", "1")


def test_only_the_requested_outputs_come_back_in_the_order_asked(client: triton.InferenceServerClient) -> None:
    """A caller that needs the label pays for the label."""
    wanted = [triton.InferRequestedOutput("label"), triton.InferRequestedOutput("logits")]
    response = client.infer("sentiment", [text_input(["great"])], outputs=wanted).get_response()
    assert [o.name for o in response.outputs] == ["label", "logits"]
    assert len(response.raw_output_contents) == 2


def test_classification_answers_the_best_classes_as_score_index_label(client: triton.InferenceServerClient) -> None:
    """BYTES [n, k], best first."""
    wanted = [triton.InferRequestedOutput("probabilities", class_count=2)]
    result = client.infer("intents", [text_input(TEXTS)], outputs=wanted)
    classes = result.as_numpy("probabilities")
    probabilities = client.infer("intents", [text_input(TEXTS)]).as_numpy("probabilities")
    assert classes.shape == (3, 2)
    for row, scores in zip(classes, probabilities, strict=True):
        parts = [c.decode().split(":") for c in row]
        best = np.argsort(-scores)[:2]
        assert [int(index) for _, index, _ in parts] == best.tolist()
        assert [label for _, _, label in parts] == [["refund", "delivery", "other"][i] for i in best]
        np.testing.assert_allclose([float(score) for score, _, _ in parts], scores[best], atol=1e-6)


def test_more_classes_than_there_are_answers_all_of_them(client: triton.InferenceServerClient) -> None:
    """As Triton does."""
    wanted = [triton.InferRequestedOutput("logits", class_count=50)]
    assert client.infer("intents", [text_input(["great"])], outputs=wanted).as_numpy("logits").shape == (1, 3)


def test_a_cut_text_is_reported(client: triton.InferenceServerClient) -> None:
    """Truncation is declared, never silent."""
    response = client.infer("sentiment", [text_input(["order " * MAX_LENGTH, "order"])]).get_response()
    assert response.parameters["truncated_rows"].int64_param == 1
    assert not client.infer("sentiment", [text_input(["order"])]).get_response().parameters


def test_a_long_text_answers_the_same_as_in_process(
    client: triton.InferenceServerClient, toy_settings: Settings
) -> None:
    """Long texts are tokenised off the event loop."""
    texts = [" ".join(["refund order late"] * 30), "great " * 2000]
    np.testing.assert_allclose(
        client.infer("sentiment", [text_input(texts)]).as_numpy("logits"),
        here(toy_settings, "sentiment", texts)["logits"],
        atol=1e-5,
    )


def test_typed_contents_are_answered_raw(stub: GRPCInferenceServiceStub) -> None:
    """And give the same answer."""
    request = pb.ModelInferRequest(model_name="sentiment")
    request.inputs.add(
        name="text", datatype="BYTES", shape=[1], contents=pb.InferTensorContents(bytes_contents=[b"great"])
    )
    response = stub.ModelInfer(request)
    assert len(response.raw_output_contents) == len(response.outputs) == 3
    assert not any(o.HasField("contents") for o in response.outputs)


@pytest.mark.parametrize("version", ["", "1"])
def test_a_version_is_empty_or_a_number(client: triton.InferenceServerClient, version: str) -> None:
    """Or an alias; see the test of promotion."""
    assert client.infer("sentiment", [text_input(["great"])], model_version=version) is not None


def test_many_async_requests_are_each_answered_with_their_own_rows(toy_server: Running, toy_settings: Settings) -> None:
    """Rows of several requests share passes; the answers do not mix."""
    texts = [f"w{i} order w{(i * 7) % 100}" for i in range(60)]
    expected = here(toy_settings, "sentiment", texts)["logits"]

    async def ask() -> list[Any]:
        import tritonclient.grpc.aio as triton_aio

        async with triton_aio.InferenceServerClient(toy_server.address) as client:
            results = await asyncio.gather(*[client.infer("sentiment", [text_input([t])]) for t in texts])
            return [r.as_numpy("logits")[0] for r in results]

    np.testing.assert_allclose(asyncio.run(ask()), expected, atol=1e-5)


@pytest.mark.parametrize(
    "parameters",
    [{"timeout": 2_000_000}, {"priority": 1}, {"sequence_id": 0}, {"binary_data_output": True}, {"headers": "x"}],
    ids=lambda p: next(iter(p)),
)
def test_known_parameters_are_taken(stub: GRPCInferenceServiceStub, parameters: dict[str, Any]) -> None:
    """With the types that clients send them in."""
    assert stub.ModelInfer(parametrised(parameters)).model_version == "1"


def parametrised(parameters: dict[str, Any]) -> pb.ModelInferRequest:
    """A good request with parameters."""
    request = pb.ModelInferRequest(model_name="sentiment", raw_input_contents=[b"\x05\x00\x00\x00great"])
    request.inputs.add(name="text", datatype="BYTES", shape=[1])
    for key, value in parameters.items():
        field = {bool: "bool_param", int: "int64_param", str: "string_param"}[type(value)]
        setattr(request.parameters[key], field, value)
    return request


def test_priority_may_be_unsigned(stub: GRPCInferenceServiceStub) -> None:
    """Triton's Python client sends it so."""
    request = parametrised({})
    request.parameters["priority"].uint64_param = 2
    assert stub.ModelInfer(request).outputs


@pytest.mark.parametrize(
    "parameters, code, message",
    [
        ({"tiemout": 5}, "INVALID_ARGUMENT", "parameter 'tiemout' is not known; expected one of"),
        ({"triton_enable": True}, "INVALID_ARGUMENT", "reserved by the protocol"),
        ({"timeout": "5"}, "INVALID_ARGUMENT", "parameter 'timeout' is '5'; expected an integer"),
        ({"timeout": -5}, "INVALID_ARGUMENT", "expected an integer of 0 or more"),
        ({"sequence_id": 7}, "UNIMPLEMENTED", "no model here keeps state"),
        ({"sequence_start": True}, "UNIMPLEMENTED", "no model here keeps state"),
    ],
)
def test_other_parameters_are_refused(
    stub: GRPCInferenceServiceStub, parameters: dict[str, Any], code: str, message: str
) -> None:
    """Ignoring one would answer another question."""
    assert_refused(stub, parametrised(parameters), code, message)


def assert_refused(stub: GRPCInferenceServiceStub, request: pb.ModelInferRequest, code: str, message: str) -> None:
    """The call fails with that code and a message that holds the text."""
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request)
    assert caught.value.code().name == code
    assert message in caught.value.details()


def ids_request(**changes: Any) -> pb.ModelInferRequest:
    """One good row of ids, with changes to one input."""
    request = pb.ModelInferRequest(model_name="sentiment")
    for name, values in (("input_ids", [[2, 5, 3]]), ("attention_mask", [[1, 1, 1]])):
        spec = {"name": name, "datatype": "INT64", "shape": [1, 3], "values": values}
        spec |= changes.get(name, {})
        dtype = np.float64 if spec["datatype"] == "FP64" else np.int64
        request.inputs.add(name=spec["name"], datatype=spec["datatype"], shape=spec["shape"])
        request.raw_input_contents.append(np.array(spec["values"], dtype).tobytes())
    return request


EMPTY = {"shape": [0, 3], "values": []}


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"input_ids": {"name": "ids"}},
            "expected either 'text' BYTES, or 'input_ids' INT64 and 'attention_mask' INT64",
        ),
        ({"attention_mask": {"name": "input_ids"}}, "input 'input_ids' is there twice"),
        ({"input_ids": {"datatype": "FP64"}}, "input 'input_ids' has datatype 'FP64'; expected INT64"),
        ({"input_ids": {"shape": [3]}}, "input 'input_ids' has shape [3]; expected [-1, -1]"),
        ({"input_ids": {"shape": [1, 4]}}, "holds 24 bytes; expected 32"),
        (
            {"input_ids": {"shape": [0, 3], "values": []}, "attention_mask": {"shape": [0, 3], "values": []}},
            "has no rows",
        ),
        ({"input_ids": {"values": [[2, 9999, 3]]}}, "9999"),
        ({"input_ids": {"values": [[2, -1, 3]]}}, "-1"),
        ({"attention_mask": {"values": [[0, 0, 0]]}}, "row 0"),
        ({"attention_mask": {"shape": [1, 2], "values": [[1, 1]]}}, "equal shapes"),
    ],
    ids=[
        "renamed",
        "twice",
        "dtype",
        "rank",
        "size",
        "no rows",
        "past vocabulary",
        "negative id",
        "empty mask",
        "shapes",
    ],
)
def test_wrong_token_tensors_are_refused_before_they_run(
    stub: GRPCInferenceServiceStub, change: dict[str, Any], message: str
) -> None:
    """Naming the input, what it is, and what was expected."""
    assert_refused(stub, ids_request(**change), "INVALID_ARGUMENT", message)


@pytest.mark.parametrize(
    "shape, datatype, raw, message",
    [
        ([], "BYTES", b"\x01\x00\x00\x00a", "has shape []; expected [rows] or [rows, 1]"),
        ([1, 2], "BYTES", b"\x01\x00\x00\x00a\x01\x00\x00\x00b", "has shape [1, 2]; expected [rows] or [rows, 1]"),
        ([0], "BYTES", b"", "input 'text' has no rows; expected at least 1"),
        ([1], "INT64", bytes(8), "input 'text' has datatype 'INT64'; expected BYTES"),
        ([1], "BYTES", b"\x02\x00\x00\x00\xff\xfe", "text 0 is not UTF-8"),
    ],
    ids=["scalar", "two columns", "no rows", "dtype", "not text"],
)
def test_wrong_texts_are_refused(
    stub: GRPCInferenceServiceStub, shape: list[int], datatype: str, raw: bytes, message: str
) -> None:
    """Each with what was expected."""
    request = pb.ModelInferRequest(model_name="sentiment", raw_input_contents=[raw])
    request.inputs.add(name="text", datatype=datatype, shape=shape)
    assert_refused(stub, request, "INVALID_ARGUMENT", message)


def test_no_inputs_at_all_names_both_ways(stub: GRPCInferenceServiceStub) -> None:
    """Text, or token ids with their mask."""
    assert_refused(stub, pb.ModelInferRequest(model_name="sentiment"), "INVALID_ARGUMENT", "expected either 'text'")


@pytest.mark.parametrize(
    "outputs, message",
    [
        (["probs"], "output 'probs' is not one of this model's; expected any of ['logits', 'probabilities', 'label']"),
        (["label", "label"], "output 'label' is requested twice"),
    ],
)
def test_unknown_and_repeated_outputs_are_refused(
    stub: GRPCInferenceServiceStub, outputs: list[str], message: str
) -> None:
    """Before anything is computed."""
    request = parametrised({})
    for name in outputs:
        request.outputs.add(name=name)
    assert_refused(stub, request, "INVALID_ARGUMENT", message)


def test_classes_of_an_output_without_classes_are_refused(stub: GRPCInferenceServiceStub) -> None:
    """Naming those that have them."""
    request = parametrised({})
    request.outputs.add(name="label").parameters["classification"].int64_param = 1
    assert_refused(stub, request, "INVALID_ARGUMENT", "'classification' is for ['logits', 'probabilities']")


def test_an_unknown_model_names_the_nearest(client: triton.InferenceServerClient) -> None:
    """With NOT_FOUND."""
    with pytest.raises(InferenceServerException, match="did you mean 'sentiment'") as caught:
        client.infer("sentimant", [text_input(["great"])])
    assert caught.value.status() == "StatusCode.NOT_FOUND"


def test_an_unknown_version_is_not_found(client: triton.InferenceServerClient) -> None:
    """A number and an alias."""
    for version in ("99", "canary"):
        with pytest.raises(InferenceServerException) as caught:
            client.infer("sentiment", [text_input(["great"])], model_version=version)
        assert caught.value.status() == "StatusCode.NOT_FOUND"


def test_a_backbone_is_no_model(client: triton.InferenceServerClient) -> None:
    """It answers nothing by itself."""
    with pytest.raises(InferenceServerException, match="answers nothing by itself") as caught:
        client.infer("toy", [text_input(["great"])])
    assert caught.value.status() == "StatusCode.FAILED_PRECONDITION"


def test_a_version_in_the_name_is_refused_with_the_way_to_send_it(client: triton.InferenceServerClient) -> None:
    """NAME:3 is how people write it, not the protocol."""
    with pytest.raises(InferenceServerException, match="model_name 'sentiment', model_version '1'"):
        client.infer("sentiment:1", [text_input(["great"])])


def test_a_poisoned_row_fails_alone(toy_server: Running) -> None:
    """Its neighbours in the same pass are answered."""

    async def ask() -> list[Any]:
        import tritonclient.grpc.aio as triton_aio

        async with triton_aio.InferenceServerClient(toy_server.address) as client:
            toy_server.scheduler.hold(3)
            calls = [client.infer("sentiment", [text_input([t])]) for t in ("great", "poison", "broken")]
            return await asyncio.gather(*calls, return_exceptions=True)

    first, second, third = asyncio.run(ask())
    assert isinstance(second, InferenceServerException)
    assert first.as_numpy("label").shape == third.as_numpy("label").shape == (1,)


def test_a_deadline_that_passes_in_the_queue_costs_no_pass(
    client: triton.InferenceServerClient, toy_server: Running
) -> None:
    """The caller gets DEADLINE_EXCEEDED and the row never runs."""
    before = toy_server.scheduler.statistics().models["sentiment", 1].rows
    toy_server.scheduler.hold(1000)
    try:
        with pytest.raises(InferenceServerException) as caught:
            client.infer("sentiment", [text_input(["great"])], client_timeout=0.15)
        assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"
    finally:
        toy_server.scheduler.hold(0)
    client.infer("sentiment", [text_input(["great"])])
    assert toy_server.scheduler.statistics().models["sentiment", 1].rows == before + 1


def test_the_timeout_parameter_bounds_the_wait(client: triton.InferenceServerClient, toy_server: Running) -> None:
    """In microseconds, whatever the call's own deadline is."""
    toy_server.scheduler.hold(1000)
    release = threading.Timer(0.3, toy_server.scheduler.hold, [0])
    release.start()
    with pytest.raises(InferenceServerException) as caught:
        client.infer("sentiment", [text_input(["great"])], timeout=50_000)
    release.join()
    assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"


def test_cancelling_frees_the_queued_rows(toy_server: Running) -> None:
    """A caller that leaves costs nothing."""

    async def leave() -> None:
        request = parametrised({}).SerializeToString()
        async with grpc.aio.insecure_channel(toy_server.address) as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(request)
            # Between the inbox and its lane a ticket is in neither, for a moment.
            while not (waiting := set(toy_server.scheduler._devices["cpu"].waiting())):
                await asyncio.sleep(0.01)
            (ticket,) = waiting
            call.cancel()
            for _ in range(1000):
                if toy_server.scheduler.statistics().models["sentiment", 1].cancelled > before:
                    return
                await asyncio.sleep(0.01)
                if ticket.cancelled:
                    # Let go before the news is there, it would run.
                    toy_server.scheduler.hold(0)
            raise AssertionError("the cancelled row was never dropped")

    before = toy_server.scheduler.statistics().models["sentiment", 1].cancelled
    toy_server.scheduler.hold(1000)
    try:
        asyncio.run(leave())
    finally:
        toy_server.scheduler.hold(0)
