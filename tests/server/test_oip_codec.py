"""Tensors and messages of the Open Inference Protocol: what goes in comes out, and nothing malformed gets through."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstock.errors import InvalidInput, Unsupported
from headstock.oip import open_inference_grpc_pb2 as pb
from headstock_server.dataplane import tensors
from headstock_server.dataplane.limits import LimitExceeded, Limits
from headstock_server.dataplane.messages import InferResponse, OutputTensor
from headstock_server.transport import codec, prescan

LIMITS = Limits()


@pytest.mark.parametrize("datatype", sorted(tensors.DTYPES))
def test_numbers_survive_the_wire_unchanged(datatype: str) -> None:
    """Every datatype that numpy has, in a shape with several axes."""
    values = np.arange(12).reshape(3, 2, 2).astype(tensors.DTYPES[datatype])
    raw = tensors.encode(values, datatype)
    decoded = tensors.decode("x", datatype, (3, 2, 2), raw)
    np.testing.assert_array_equal(decoded, values)


def test_decoding_numbers_copies_nothing() -> None:
    """The array is a view of the message's bytes."""
    raw = np.arange(8, dtype="<i8").tobytes()
    decoded = tensors.decode("x", "INT64", (8,), raw)
    assert isinstance(decoded, np.ndarray)
    assert not decoded.flags.owndata
    assert decoded.base is not None


def test_bf16_becomes_the_float_with_the_same_upper_half() -> None:
    """numpy has no BF16."""
    raw = np.array([0x3F80, 0xC000], dtype="<u2").tobytes()
    np.testing.assert_array_equal(tensors.decode("x", "BF16", (2,), raw), np.float32([1.0, -2.0]))


@given(st.lists(st.binary(max_size=40), max_size=20))
@settings(max_examples=60, deadline=None)
def test_bytes_elements_survive_the_wire_unchanged(elements: list[bytes]) -> None:
    """Also empty ones."""
    assert tensors.decode("x", "BYTES", (len(elements),), tensors.encode_bytes(elements)) == elements


@given(st.binary(max_size=60), st.integers(0, 6))
@settings(max_examples=200, deadline=None)
def test_random_bytes_are_either_decoded_whole_or_refused(raw: bytes, count: int) -> None:
    """No other exception, and never an element that is not in the message."""
    try:
        elements = tensors.decode("x", "BYTES", (count,), raw)
    except InvalidInput:
        return
    assert tensors.encode_bytes(elements) == raw  # type: ignore[arg-type]


def test_a_length_past_the_end_is_refused_before_anything_is_allocated() -> None:
    """A 4 GiB prefix in an 8-byte message."""
    with pytest.raises(InvalidInput, match=r"element 0 of input 'x' says it has 4294967295 bytes; 4 remain"):
        tensors.decode("x", "BYTES", (1,), b"\xff\xff\xff\xffabcd")


def test_a_size_mismatch_names_both_sizes() -> None:
    """What was sent, and what the shape needs."""
    with pytest.raises(InvalidInput, match=r"input 'x' holds 8 bytes; expected 16 for INT64 of shape \[2\]"):
        tensors.decode("x", "INT64", (2,), bytes(8))


def test_a_shape_whose_product_overflows_in_numpy_is_refused() -> None:
    """numpy says that [2**32, 2**32] has 0 elements."""
    with pytest.raises(InvalidInput, match="expected 147573952589676412928"):
        tensors.decode("x", "INT64", (2**32, 2**32), b"")


@pytest.mark.parametrize("shape", [(2**40, 2**40, 0), (0, 2**62), (2**62, 2**62, 0), (0, 10**30), (10**4000, 10**4000)])
@pytest.mark.parametrize("datatype", ["INT64", "BF16", "BOOL"])
def test_a_shape_that_numpy_cannot_have_is_refused_also_where_it_holds_nothing(
    shape: tuple[int, ...], datatype: str
) -> None:
    """JSON has sizes of any length; and a size of 0 does not make the others possible."""
    for decode in (
        lambda: tensors.decode("x", datatype, shape, b""),
        lambda: tensors.decode_typed("x", datatype, shape, []),
    ):
        with pytest.raises(InvalidInput, match=r"no tensor can have|below 2"):
            decode()


@pytest.mark.parametrize("shape", [(-1,), (3, -2), (-(2**63),)])
def test_negative_sizes_are_refused(shape: tuple[int, ...]) -> None:
    """-1 means "any size" in metadata only."""
    with pytest.raises(InvalidInput, match="expected sizes of 0 or more"):
        tensors.decode("x", "INT64", shape, b"")


def test_an_unknown_datatype_names_the_known_ones() -> None:
    """Also the empty one."""
    with pytest.raises(InvalidInput, match=r"datatype 'FLOAT'; expected one of BOOL.*FP32.*BYTES"):
        tensors.decode("x", "FLOAT", (1,), bytes(4))


def test_a_bool_that_is_neither_true_nor_false_is_refused() -> None:
    """Two clients would read it differently."""
    with pytest.raises(InvalidInput, match="neither 0 nor 1"):
        tensors.decode("x", "BOOL", (2,), b"\x01\x02")


def request(**inputs: tuple[str, list[int], bytes]) -> pb.ModelInferRequest:
    """A request with raw contents."""
    message = pb.ModelInferRequest(model_name="m", id="7")
    for name, (datatype, shape, raw) in inputs.items():
        message.inputs.add(name=name, datatype=datatype, shape=shape)
        message.raw_input_contents.append(raw)
    return message


def decode(message: pb.ModelInferRequest) -> codec.InferRequest:
    """As the server does."""
    return codec.decode_request(message.SerializeToString(), LIMITS)


def test_raw_and_typed_contents_decode_to_the_same_tensors() -> None:
    """A caller may choose; the answer may not depend on it."""
    raw = decode(
        request(ids=("INT64", [1, 3], np.int64([[1, 2, 3]]).tobytes()), text=("BYTES", [1], b"\x02\x00\x00\x00hi"))
    )
    message = pb.ModelInferRequest(model_name="m")
    message.inputs.add(
        name="ids", datatype="INT64", shape=[1, 3], contents=pb.InferTensorContents(int64_contents=[1, 2, 3])
    )
    message.inputs.add(
        name="text", datatype="BYTES", shape=[1], contents=pb.InferTensorContents(bytes_contents=[b"hi"])
    )
    typed = decode(message)
    np.testing.assert_array_equal(raw.inputs[0].values, typed.inputs[0].values)
    assert raw.inputs[1].values == typed.inputs[1].values == [b"hi"]


def test_mixing_raw_and_typed_contents_is_refused() -> None:
    """The order of raw contents would be ambiguous."""
    message = request(ids=("INT64", [1], bytes(8)))
    message.inputs[0].contents.int64_contents.append(1)
    with pytest.raises(InvalidInput, match="typed contents in a request with raw_input_contents"):
        decode(message)


def test_a_raw_content_too_few_is_refused() -> None:
    """With both counts."""
    message = request(ids=("INT64", [1], bytes(8)))
    message.inputs.add(name="mask", datatype="INT64", shape=[1])
    with pytest.raises(InvalidInput, match="2 inputs and 1 raw_input_contents"):
        decode(message)


def test_typed_contents_in_the_wrong_field_are_refused() -> None:
    """INT64 values belong into int64_contents."""
    message = pb.ModelInferRequest(model_name="m")
    message.inputs.add(name="ids", datatype="INT64", shape=[1], contents=pb.InferTensorContents(fp32_contents=[1]))
    with pytest.raises(InvalidInput, match="fills fp32_contents; expected int64_contents"):
        decode(message)


def test_half_floats_have_no_typed_contents() -> None:
    """They travel raw."""
    message = pb.ModelInferRequest(model_name="m")
    message.inputs.add(name="x", datatype="FP16", shape=[1])
    with pytest.raises(Unsupported, match="send raw_input_contents"):
        decode(message)


def test_typed_values_outside_of_the_datatype_are_refused() -> None:
    """int_contents holds 32 bits; INT8 has 8."""
    message = pb.ModelInferRequest(model_name="m")
    message.inputs.add(name="x", datatype="INT8", shape=[1], contents=pb.InferTensorContents(int_contents=[300]))
    with pytest.raises(InvalidInput, match="a value that INT8 cannot"):
        decode(message)


def test_shared_memory_is_refused_by_name() -> None:
    """A region that a client names is a way into the server."""
    message = request(ids=("INT64", [1], bytes(8)))
    message.inputs[0].parameters["shared_memory_region"].string_param = "r"
    with pytest.raises(InvalidInput, match="shared memory, which this server does not offer"):
        decode(message)


def test_answers_are_always_raw() -> None:
    """tritonclient decodes typed contents for BYTES only."""
    response = InferResponse(
        "m",
        "3",
        "7",
        [
            OutputTensor("p", "FP32", np.float32([[0.25, 0.75]])),
            OutputTensor("label", "BYTES", np.array([b"yes"], object)),
        ],
    )
    message = pb.ModelInferResponse.FromString(codec.encode_response(response))
    assert (message.model_name, message.model_version, message.id) == ("m", "3", "7")
    assert [list(o.shape) for o in message.outputs] == [[1, 2], [1]]
    assert not any(o.HasField("contents") for o in message.outputs)
    assert list(message.raw_output_contents) == [np.float32([0.25, 0.75]).tobytes(), b"\x03\x00\x00\x00yes"]


# ------------------------------------------------------------------------------------------- before parsing
def test_a_normal_request_passes_the_scan() -> None:
    """Two inputs, outputs, parameters."""
    message = request(ids=("INT64", [1, 200], bytes(1600)), mask=("INT64", [1, 200], bytes(1600)))
    message.outputs.add(name="label").parameters["classification"].int64_param = 3
    message.parameters["timeout"].int64_param = 5
    prescan.check(message.SerializeToString(), LIMITS)


@pytest.mark.parametrize(
    "data, what",
    [
        (b"\x2a\x00" * 65, "64 inputs"),
        (b"\x32\x00" * 65, "64 outputs"),
        (b"\x3a\x00" * 65, "64 raw_input_contents"),
        (b"\x22\x00" * 65, "64 parameters at one level"),
        (b"\x2a\x82\x01" + b"\x22\x00" * 65, "64 parameters at one level"),
        (b"\x2a\x41\x1a\x3f" + b"\x01" * 63 + b"\x2a\x04\x1a\x02\x01\x01", "64 axes"),
    ],
    ids=["inputs", "outputs", "raw", "parameters", "input parameters", "axes"],
)
def test_more_than_a_request_may_hold_is_refused_unparsed(data: bytes, what: str) -> None:
    """Each kind of repeated field has a cap."""
    with pytest.raises(LimitExceeded, match=f"more than {what}"):
        prescan.check(data, LIMITS)


def test_typed_elements_are_counted_in_every_encoding() -> None:
    """Packed varints, packed floats and one tag for each element, over all inputs together."""
    few = Limits(elements=10)
    contents = pb.InferTensorContents(int64_contents=[300] * 4, fp32_contents=[1.0] * 4, bytes_contents=[b"a"] * 2)
    message = pb.ModelInferRequest()
    message.inputs.add(contents=contents)
    prescan.check(message.SerializeToString(), few)
    unpacked = message.SerializeToString() + b"\x2a\x05\x2a\x03\x18\xac\x02"
    assert pb.ModelInferRequest.FromString(unpacked).inputs[1].contents.int64_contents == [300]
    with pytest.raises(LimitExceeded, match="more than 10 elements of typed contents"):
        prescan.check(unpacked, few)


def test_refusing_a_bomb_takes_no_time_that_grows_with_it() -> None:
    """32 MiB of empty inputs would parse into gigabytes."""
    import time

    bomb = b"\x2a\x00" * (16 << 20)
    start = time.thread_time()
    with pytest.raises(LimitExceeded):
        prescan.check(bomb, Limits(message_bytes=64 << 20))
    assert time.thread_time() - start < 0.01


@pytest.mark.parametrize(
    "field",
    [b"\x78\x00", b"\x7d\x00\x00\x00\x00", b"\xa2\x06\x00", b"\x0a\x00"],
    ids=["varint", "fixed", "bytes", "name"],
)
def test_millions_of_fields_that_nobody_counts_hold_nobody_up(field: bytes) -> None:
    """Unknown ones, and the model's name again and again: walking over 16 MiB of them takes seconds."""
    import time

    bomb = field * ((16 << 20) // len(field))
    inner = pb.ModelInferRequest.InferInputTensor(name="x").SerializeToString()
    nested = _wrapped(0x2A, inner + _wrapped(0x2A, b"") * (4 << 20))
    start = time.thread_time()
    for data in (bomb, nested):
        with pytest.raises(LimitExceeded, match="more than 65536 fields"):
            prescan.check(data, Limits(message_bytes=64 << 20))
    assert time.thread_time() - start < 0.3


def _wrapped(tag: int, data: bytes) -> bytes:
    size, length = len(data), b""
    while size >= 128:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([tag]) + length + bytes([size]) + data


@pytest.mark.parametrize(
    "data",
    [b"\x2a", b"\x2a\x05a", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x2b", b"\x80", b"\x09abc"],
    ids=["no length", "short", "varint overflow", "group", "cut tag", "cut fixed64"],
)
def test_malformed_messages_are_refused(data: bytes) -> None:
    """As invalid input, whatever the scan or the parser stumbles over."""
    with pytest.raises(InvalidInput, match=r"not a valid inference\.ModelInferRequest"):
        codec.decode_request(data, LIMITS)


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_the_scan_accepts_everything_that_the_parser_does(data: bytes) -> None:
    """But for groups, which no message of ours has, the two never disagree on what is well formed."""
    from google.protobuf.message import DecodeError

    try:
        pb.ModelInferRequest.FromString(data)
    except DecodeError:
        return
    try:
        prescan.check(data, LIMITS)
    except LimitExceeded:
        pass
    except InvalidInput:
        assert any(byte & 7 in (3, 4) for byte in data), "refused without a group in it"


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_the_scan_counts_what_the_parser_finds(inputs: int, outputs: int, raws: int) -> None:
    """Exactly at the cap passes, one more does not."""
    message = pb.ModelInferRequest(raw_input_contents=[b""] * raws)
    for _ in range(inputs):
        message.inputs.add(name="a")
    for _ in range(outputs):
        message.outputs.add(name="b")
    data = message.SerializeToString()
    prescan.check(data, Limits(inputs=max(inputs, raws), outputs=outputs))
    if outputs:
        with pytest.raises(LimitExceeded):
            prescan.check(data, Limits(inputs=max(inputs, raws), outputs=outputs - 1))
