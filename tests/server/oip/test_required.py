"""The six calls that every server of the Open Inference Protocol has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from headstock.oip import open_inference_grpc_pb2 as pb

Refused = Callable[..., tuple[grpc.StatusCode, str]]

# What a server may say of a model that it does not have.
ABSENT = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAVAILABLE)
DATATYPES = {
    *("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64"),
    *("BF16", "BYTES"),
}


def test_the_server_lives_and_is_ready(stub: Any) -> None:
    """Two questions: is it there, and does it answer."""
    assert stub.ServerLive(pb.ServerLiveRequest()).live
    assert stub.ServerReady(pb.ServerReadyRequest()).ready


def test_the_server_has_a_name_and_a_version(stub: Any) -> None:
    """And each extension once."""
    metadata = stub.ServerMetadata(pb.ServerMetadataRequest())
    assert metadata.name
    assert metadata.version
    assert len(set(metadata.extensions)) == len(metadata.extensions)


def test_a_model_is_ready_by_name(stub: Any, target: Any) -> None:
    """Without a version, and with each that the metadata lists first."""
    assert stub.ModelReady(pb.ModelReadyRequest(name=target.model)).ready
    versions = stub.ModelMetadata(pb.ModelMetadataRequest(name=target.model)).versions
    assert any(stub.ModelReady(pb.ModelReadyRequest(name=target.model, version=v)).ready for v in versions)


def test_a_model_that_is_not_there_is_not_ready(stub: Any) -> None:
    """False or an error, never true."""
    call = stub.ModelReady.future(pb.ModelReadyRequest(name="no-such-model"))
    assert call.code() in (grpc.StatusCode.OK, *ABSENT)
    if call.code() is grpc.StatusCode.OK:
        assert not call.result().ready


def test_metadata_names_every_tensor_with_datatype_and_shape(stub: Any, target: Any) -> None:
    """Datatypes are the protocol's; -1 is any size."""
    metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name=target.model))
    assert metadata.name == target.model
    assert metadata.platform
    assert metadata.inputs
    assert metadata.outputs
    for tensor in (*metadata.inputs, *metadata.outputs):
        assert tensor.name
        assert tensor.datatype in DATATYPES
        assert all(size == -1 or size > 0 for size in tensor.shape)
    for tensors in (metadata.inputs, metadata.outputs):
        assert len({t.name for t in tensors}) == len(tensors)


def test_metadata_of_a_model_that_is_not_there_is_an_error(stub: Any, refused: Refused) -> None:
    """As is its inference."""
    code, message = refused(stub.ModelMetadata, pb.ModelMetadataRequest(name="no-such-model"))
    assert code in ABSENT
    assert message


@pytest.mark.parametrize("version", ["987654", "no-such-version"])
def test_a_version_that_is_not_there_is_an_error(stub: Any, target: Any, refused: Refused, version: str) -> None:
    """Never another version's answer."""
    assert refused(stub.ModelInfer, target.request(model_version=version))[0] in ABSENT
