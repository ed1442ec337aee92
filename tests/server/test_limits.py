"""What a hostile or careless caller may cost: limits on size, count, encoding and address."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from headstock.catalogue import Catalogue
from headstock.errors import InvalidInput
from headstock.oip import open_inference_grpc_pb2 as pb
from headstock.oip.open_inference_grpc_pb2_grpc import GRPCInferenceServiceStub
from headstock.testing.toy import publish_toy
from headstock_server.app import Running, ServeOptions
from headstock_server.dataplane.limits import MIB, Limits
from headstock_server.engine import EngineOptions
from headstock_server.testing import background_server
from headstock_server.transport.bind import check_bind

INFER = "/inference.GRPCInferenceService/ModelInfer"


@pytest.fixture(scope="module")
def channel(toy_server: Running) -> Iterator[grpc.Channel]:
    """A client without limits of its own."""
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(toy_server.address, options=options) as opened:
        yield opened


def refused(channel: grpc.Channel, data: bytes, method: str = INFER, **options: object) -> tuple[str, str]:
    """Code and message of a raw call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method)(data, timeout=20, **options)
    return caught.value.code().name, caught.value.details()


def text_request(*texts: bytes) -> pb.ModelInferRequest:
    """A request of one text input."""
    raw = b"".join(len(t).to_bytes(4, "little") + t for t in texts)
    message = pb.ModelInferRequest(model_name="sentiment", raw_input_contents=[raw])
    message.inputs.add(name="text", datatype="BYTES", shape=[len(texts)])
    return message


def test_a_message_over_the_limit_is_refused_by_the_channel(channel: grpc.Channel) -> None:
    """16 MiB by default."""
    code, message = refused(channel, bytes(16 * MIB + 1))
    assert code == "RESOURCE_EXHAUSTED"
    assert "larger than max" in message


def test_the_message_limit_is_a_setting(catalogue: Catalogue) -> None:
    """A request of 2 MiB does not fit into 1."""
    publish_toy(catalogue)
    options = ServeOptions(bind="127.0.0.1:0", limits=Limits(message_bytes=MIB), engine=EngineOptions(token_budget=64))
    with background_server(catalogue.settings, options) as server, grpc.insecure_channel(server.address) as small:
        assert refused(small, bytes(2 * MIB))[0] == "RESOURCE_EXHAUSTED"


def test_a_compressed_request_is_refused(channel: grpc.Channel) -> None:
    """Its real size would be known only after unpacking it."""
    data = text_request(b"great").SerializeToString()
    code, message = refused(channel, data, compression=grpc.Compression.Gzip)
    assert code == "UNIMPLEMENTED"
    assert "gzip" in message


@pytest.mark.parametrize(
    "data, what",
    [
        (b"\x2a\x00" * 2_000_000, "64 inputs"),
        (b"\x3a\x00" * 2_000_000, "64 raw_input_contents"),
        (b"\x22\x00" * 2_000_000, "64 parameters"),
    ],
    ids=["inputs", "raw contents", "parameters"],
)
def test_millions_of_empty_fields_are_refused_unparsed(channel: grpc.Channel, data: bytes, what: str) -> None:
    """4 MiB of them would become half a gigabyte of objects."""
    code, message = refused(channel, data)
    assert (code, what in message) == ("RESOURCE_EXHAUSTED", True)


def test_millions_of_typed_elements_are_refused_unparsed(channel: grpc.Channel) -> None:
    """Raw contents are the way to send many."""
    message = pb.ModelInferRequest(model_name="sentiment")
    tensor = message.inputs.add(name="input_ids", datatype="INT64", shape=[1, 2_000_000])
    tensor.contents.int64_contents.extend([1] * 2_000_000)
    code, text = refused(channel, message.SerializeToString())
    assert code == "RESOURCE_EXHAUSTED"
    assert "send raw_input_contents" in text


def test_deep_nesting_is_refused(channel: grpc.Channel) -> None:
    """Unknown groups nested in groups, as recursion bombs are made."""
    assert refused(channel, b"\xa3\x06" * 5000)[0] == "INVALID_ARGUMENT"


def test_unknown_fields_are_skipped(channel: grpc.Channel) -> None:
    """A newer client may send what this server does not know."""
    data = text_request(b"great").SerializeToString() + b"\xa2\x06\x80\x80\x01" + bytes(16384)
    answer = channel.unary_unary(INFER)(data, timeout=20)
    assert pb.ModelInferResponse.FromString(answer).model_version == "1"


def test_too_many_rows_are_refused(channel: grpc.Channel) -> None:
    """With the limit in the message."""
    code, message = refused(channel, text_request(*[b"a"] * 1025).SerializeToString())
    assert code == "RESOURCE_EXHAUSTED"
    assert "1025 rows; expected at most 1024" in message


def test_too_much_text_is_refused_before_it_is_tokenised(channel: grpc.Channel) -> None:
    """All texts together, and each alone."""
    code, message = refused(channel, text_request(*[b"a" * 90_000] * 12).SerializeToString())
    assert code == "RESOURCE_EXHAUSTED"
    assert "1080000 bytes of text; expected at most 1048576" in message
    code, message = refused(channel, text_request(b"a" * 200_000).SerializeToString())
    assert code == "INVALID_ARGUMENT"
    assert "text 0 has 200000 characters" in message


def test_a_long_request_id_is_refused(channel: grpc.Channel) -> None:
    """The response would carry it back."""
    message = text_request(b"great")
    message.id = "x" * 300
    assert refused(channel, message.SerializeToString())[0] == "RESOURCE_EXHAUSTED"


def test_a_long_model_name_is_refused_and_not_repeated_whole(channel: grpc.Channel) -> None:
    """A message of 64 KiB of somebody's name helps no one."""
    message = text_request(b"great")
    message.model_name = "x" * 65536
    code, text = refused(channel, message.SerializeToString())
    assert code == "INVALID_ARGUMENT"
    assert len(text) < 300


def test_large_headers_are_refused_by_the_channel(channel: grpc.Channel) -> None:
    """Before any of our code runs."""
    code, _ = refused(channel, b"", metadata=(("x-big", "y" * 40_000),))
    assert code in ("RESOURCE_EXHAUSTED", "INTERNAL", "UNAVAILABLE")


def test_other_methods_take_small_messages_only(channel: grpc.Channel) -> None:
    """They hold a name and a flag."""
    assert refused(channel, bytes(100_000), "/inference.GRPCInferenceService/ModelMetadata")[0] == "RESOURCE_EXHAUSTED"
    assert refused(channel, b"\x0a\x05a", "/inference.GRPCInferenceService/ModelMetadata")[0] == "INVALID_ARGUMENT"


def test_the_server_is_well_after_all_of_this(toy_server: Running) -> None:
    """None of the refused calls left anything behind."""
    with grpc.insecure_channel(toy_server.address) as fresh:
        assert GRPCInferenceServiceStub(fresh).ModelInfer(text_request(b"great")).model_version == "1"
    assert toy_server.scheduler.statistics().queued_rows == 0


@pytest.mark.parametrize("address", ["127.0.0.1:8081", "127.3.2.1:0", "localhost:1", "[::1]:8081", "unix:/tmp/s"])
def test_loopback_addresses_need_no_flag(address: str) -> None:
    """Only this machine can reach them."""
    assert check_bind(address, insecure=False) == address


@pytest.mark.parametrize("address", ["0.0.0.0:8081", "[::]:8081", "192.168.1.4:80", "example.org:80"])
def test_other_addresses_need_the_flag(address: str) -> None:
    """There is neither encryption nor authentication."""
    with pytest.raises(InvalidInput, match="neither encrypts nor asks who is calling") as caught:
        check_bind(address, insecure=False)
    assert "--insecure-bind" in str(caught.value.fix)
    assert check_bind(address, insecure=True) == address


@pytest.mark.parametrize("address", ["8081", ":8081", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:http"])
def test_half_an_address_is_refused(address: str) -> None:
    """Not guessed."""
    with pytest.raises(InvalidInput, match="is not HOST:PORT"):
        check_bind(address, insecure=True)
