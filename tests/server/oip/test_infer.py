"""ModelInfer: contents both ways, ids, subsets of outputs, and everything that a server must refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

from headstock.oip import open_inference_grpc_pb2 as pb

Refused = Callable[..., tuple[grpc.StatusCode, str]]
INVALID = grpc.StatusCode.INVALID_ARGUMENT
SIZES = {
    **dict.fromkeys(("BOOL", "INT8", "UINT8"), 1),
    **dict.fromkeys(("INT16", "UINT16", "FP16", "BF16"), 2),
    **dict.fromkeys(("INT32", "UINT32", "FP32"), 4),
    **dict.fromkeys(("INT64", "UINT64", "FP64"), 8),
}


def raw_elements(datatype: str, raw: bytes) -> int:
    """How many elements raw contents hold."""
    if datatype != "BYTES":
        return len(raw) // SIZES[datatype]
    count = at = 0
    while at < len(raw):
        at += 4 + int.from_bytes(raw[at : at + 4], "little")
        count += 1
    assert at == len(raw), "the last element ends where the contents do"
    return count


def test_an_answer_names_its_model_and_version_and_echoes_the_id(stub: Any, target: Any) -> None:
    """Also when no version was asked for."""
    response = stub.ModelInfer(target.request(id="call-7"))
    assert (response.model_name, response.id) == (target.model, "call-7")
    assert response.model_version
    assert stub.ModelInfer(target.request()).id == ""


def test_an_answer_has_raw_contents_of_the_announced_outputs(stub: Any, target: Any) -> None:
    """One for each, in order, as large as its shape says."""
    metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name=target.model))
    announced = {o.name: o for o in metadata.outputs}
    response = stub.ModelInfer(target.request())
    assert len(response.raw_output_contents) == len(response.outputs) > 0
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        expected = announced[output.name]
        assert output.datatype == expected.datatype
        assert not output.HasField("contents")
        assert raw_elements(output.datatype, raw) == math.prod(output.shape)
        if len(expected.shape) == len(output.shape):
            assert all(want in (-1, got) for want, got in zip(expected.shape, output.shape, strict=True))


def test_the_version_that_answered_can_be_asked_for(stub: Any, target: Any) -> None:
    """And answers the same."""
    first = stub.ModelInfer(target.request())
    again = stub.ModelInfer(target.request(model_version=first.model_version))
    assert again.model_version == first.model_version
    assert [o.name for o in again.outputs] == [o.name for o in first.outputs]


def test_raw_and_typed_contents_mean_the_same(stub: Any, target: Any) -> None:
    """And both are answered raw: tritonclient decodes typed answers for BYTES only."""
    raw, typed = stub.ModelInfer(target.request()), stub.ModelInfer(target.typed())
    assert len(typed.raw_output_contents) == len(typed.outputs)
    for output, one, other in zip(raw.outputs, raw.raw_output_contents, typed.raw_output_contents, strict=True):
        if output.datatype == "FP32":
            np.testing.assert_allclose(np.frombuffer(one, "<f4"), np.frombuffer(other, "<f4"), rtol=1e-4, atol=1e-5)
        elif output.datatype == "BYTES":
            assert one == other


def test_only_the_requested_outputs_are_answered(stub: Any, target: Any) -> None:
    """Each of them alone."""
    names = [o.name for o in stub.ModelInfer(target.request()).outputs]
    for name in names:
        request = target.request()
        request.outputs.add(name=name)
        response = stub.ModelInfer(request)
        assert [o.name for o in response.outputs] == [name]
        assert len(response.raw_output_contents) == 1


# ------------------------------------------------------------------------------------------- refusals
def test_typed_and_raw_contents_together_are_refused(stub: Any, target: Any, refused: Refused) -> None:
    """Which raw content belongs to which input would be a guess."""
    request = target.typed()
    request.raw_input_contents.extend(i.raw for i in target.inputs)
    assert refused(stub.ModelInfer, request)[0] is INVALID


def test_a_raw_content_too_many_or_too_few_is_refused(stub: Any, target: Any, refused: Refused) -> None:
    """One for each input."""
    request = target.request()
    request.raw_input_contents.append(b"")
    assert refused(stub.ModelInfer, request)[0] is INVALID
    if len(target.inputs) > 1:
        del request.raw_input_contents[-2:]
        assert refused(stub.ModelInfer, request)[0] is INVALID


@pytest.mark.parametrize("cut", [True, False], ids=["too short", "too long"])
def test_contents_of_another_size_than_the_shape_are_refused(
    stub: Any, target: Any, refused: Refused, cut: bool
) -> None:
    """Reading past the end, or leaving something unread."""
    request = target.request()
    raw = request.raw_input_contents[0]
    request.raw_input_contents[0] = raw[:-1] if cut else raw + b"\x00"
    code, message = refused(stub.ModelInfer, request)
    assert code is INVALID
    assert message


def test_an_input_that_the_model_does_not_have_is_refused(stub: Any, target: Any, refused: Refused) -> None:
    """As is one that is missing."""
    request = target.request()
    request.inputs[0].name = "no_such_input"
    assert refused(stub.ModelInfer, request)[0] is INVALID
    assert refused(stub.ModelInfer, pb.ModelInferRequest(model_name=target.model))[0] is INVALID


def test_another_datatype_than_the_models_is_refused(stub: Any, target: Any, refused: Refused) -> None:
    """Though the sizes may agree."""
    request = target.bare()
    request.inputs[0].datatype = other = "FP64" if target.inputs[0].datatype != "FP64" else "INT64"
    count = math.prod(target.inputs[0].shape)
    request.raw_input_contents.append(bytes(SIZES[other] * count))
    request.raw_input_contents.extend(i.raw for i in target.inputs[1:])
    assert refused(stub.ModelInfer, request)[0] is INVALID


@pytest.mark.parametrize("shape", [[-1], [2**40, 2**40]], ids=["negative", "overflowing"])
def test_a_shape_that_no_tensor_has_is_refused(stub: Any, target: Any, refused: Refused, shape: list[int]) -> None:
    """And the server goes on."""
    request = target.request()
    request.inputs[0].shape[:] = shape
    assert refused(stub.ModelInfer, request)[0] is INVALID
    assert stub.ServerReady(pb.ServerReadyRequest()).ready


def test_an_output_that_the_model_does_not_have_is_refused(stub: Any, target: Any, refused: Refused) -> None:
    """It is a typing error."""
    request = target.request()
    request.outputs.add(name="no_such_output")
    assert refused(stub.ModelInfer, request)[0] in (INVALID, grpc.StatusCode.NOT_FOUND)


def test_a_model_that_does_not_exist_is_not_found(stub: Any, target: Any, refused: Refused) -> None:
    """Its name is in the message."""
    code, message = refused(stub.ModelInfer, target.request(model_name="no-such-model"))
    assert code in (grpc.StatusCode.NOT_FOUND, INVALID, grpc.StatusCode.UNAVAILABLE)
    assert "no-such-model" in message
