"""RepositoryModelLoad, RepositoryModelUnload and RepositoryIndex as tritonclient calls them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from headstock.catalogue import Catalogue
from headstock.digest import Digest
from headstock.oip import open_inference_grpc_pb2 as pb
from headstock.oip.open_inference_grpc_pb2_grpc import GRPCInferenceServiceStub
from headstock.testing.toy import Toy, ToyHead, publish_model
from headstock_server.app import Running, ServeOptions
from headstock_server.engine import EngineOptions
from headstock_server.testing import background_server


@pytest.fixture
def server(catalogue: Catalogue, toy: Toy) -> Iterator[Running]:
    """A server whose callers may load and unload."""
    options = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=64), allow_admin=True, grace=5.0)
    with background_server(catalogue.settings, options) as running:
        yield running


@pytest.fixture
def client(server: Running) -> Iterator[triton.InferenceServerClient]:
    """Triton's own client, unchanged."""
    with triton.InferenceServerClient(server.address) as opened:
        yield opened


def infer(client: triton.InferenceServerClient, name: str = "sentiment", version: str = "") -> Any:
    """One text through one model."""
    tensor = triton.InferInput("text", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([b"great order"], object))
    return client.infer(name, [tensor], model_version=version)


def states(client: triton.InferenceServerClient) -> dict[tuple[str, str], str]:
    """State by name and version."""
    index = client.get_model_repository_index()
    return {(m.name, m.version): m.state for m in index.models}


def status(call: Any, *arguments: Any, **options: Any) -> tuple[str, str]:
    """Code and message of a call that must fail."""
    with pytest.raises(InferenceServerException) as caught:
        call(*arguments, **options)
    return caught.value.status().removeprefix("StatusCode."), caught.value.message()


def test_an_unloaded_model_is_not_ready_until_it_is_loaded_again(client: triton.InferenceServerClient) -> None:
    """Neither requests nor the catalogue bring it back, and the other model on its backbone goes on."""
    expected = infer(client).as_numpy("logits")
    client.unload_model("sentiment")
    assert not client.is_model_ready("sentiment")
    assert not client.is_model_ready("sentiment", "1")
    for version in ("", "1"):
        code, message = status(infer, client, "sentiment", version)
        assert code == "FAILED_PRECONDITION"
        assert "was unloaded" in message
    assert states(client) == {("sentiment", "1"): "UNAVAILABLE", ("intents", "1"): "READY"}
    assert infer(client, "intents") is not None
    client.load_model("sentiment")
    assert client.is_model_ready("sentiment")
    np.testing.assert_array_equal(infer(client).as_numpy("logits"), expected)
    assert states(client)["sentiment", "1"] == "READY"


def test_the_index_says_why_a_model_is_not_ready_and_can_leave_it_out(
    client: triton.InferenceServerClient, server: Running
) -> None:
    """`ready` asks for what answers."""
    client.unload_model("sentiment")
    reasons = {m.name: m.reason for m in client.get_model_repository_index().models}
    assert "unloaded" in reasons["sentiment"]
    assert reasons["intents"] == ""
    with grpc.insecure_channel(server.address) as channel:
        ready = GRPCInferenceServiceStub(channel).RepositoryIndex(pb.RepositoryIndexRequest(ready=True))
    assert [m.name for m in ready.models] == ["intents"]


def test_a_new_version_and_a_moved_alias_do_not_bring_an_unloaded_model_back(
    client: triton.InferenceServerClient, server: Running, catalogue: Catalogue, toy: Toy
) -> None:
    """Loading it later gives what the name means then."""
    client.unload_model("sentiment")
    publish_model(catalogue, "sentiment", toy.backbone, ToyHead(seed=9))
    catalogue.promote("sentiment", 2)
    server.repository.refresh()
    assert not client.is_model_ready("sentiment")
    client.load_model("sentiment")
    assert infer(client).get_response().model_version == "2"


def test_loading_what_is_loaded_changes_nothing(client: triton.InferenceServerClient, server: Running) -> None:
    """The very same model serves on."""
    before = server.repository.resolve("sentiment")
    client.load_model("sentiment")
    assert server.repository.resolve("sentiment") is before


def test_a_request_in_flight_is_answered_though_its_model_is_unloaded(
    client: triton.InferenceServerClient, server: Running
) -> None:
    """It holds the version that it was accepted for."""
    server.scheduler.hold(1000)
    answers: list[Any] = []
    waiting = threading.Thread(target=lambda: answers.append(infer(client)))
    waiting.start()
    while server.scheduler.statistics().queued_rows == 0:
        assert waiting.is_alive()
    client.unload_model("sentiment")
    server.scheduler.hold(0)
    waiting.join(10)
    assert answers[0].get_response().model_version == "1"


def test_a_version_that_cannot_load_leaves_the_old_one_serving(
    client: triton.InferenceServerClient, server: Running, catalogue: Catalogue, toy: Toy
) -> None:
    """The caller learns why, without a path; once it is repaired, loading works at once."""
    version = publish_model(catalogue, "sentiment", toy.backbone, ToyHead(seed=9))
    head = Digest(str(catalogue.artefact(version.subject).identity["head"]))
    path = catalogue.store.path(catalogue.artefact(head).files["parameters"])
    path.chmod(0o644)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    code, message = status(client.load_model, "sentiment")
    assert code == "DATA_LOSS"
    assert str(path.parent) not in message
    assert infer(client).get_response().model_version == "1"
    path.write_bytes(whole)
    client.load_model("sentiment")
    assert infer(client).get_response().model_version == "2"


@pytest.mark.parametrize("method", ["load_model", "unload_model"])
def test_what_does_not_exist_is_neither_loaded_nor_unloaded(client: triton.InferenceServerClient, method: str) -> None:
    """NOT_FOUND with a name that is near."""
    code, message = status(getattr(client, method), "sentimnt")
    assert code == "NOT_FOUND"
    assert "sentiment" in message


@pytest.mark.parametrize("method", ["load_model", "unload_model"])
def test_a_name_with_a_version_in_it_is_none(client: triton.InferenceServerClient, method: str) -> None:
    """An unload that says it is done and has done nothing would leave a model serving that nobody wants."""
    code, message = status(getattr(client, method), "sentiment:1")
    assert code == "INVALID_ARGUMENT"
    assert "'sentiment:1' is not allowed" in message


def test_a_backbone_is_not_a_model_to_load(client: triton.InferenceServerClient) -> None:
    """It is served by the models on it."""
    code, message = status(client.load_model, "toy")
    assert code == "FAILED_PRECONDITION"
    assert "toy" in message


def test_a_configuration_or_files_from_the_caller_are_refused(client: triton.InferenceServerClient) -> None:
    """Models come from the catalogue."""
    code, message = status(client.load_model, "sentiment", config='{"max_batch_size": 1}')
    assert code == "UNIMPLEMENTED"
    assert "'config'" in message
    assert client.is_model_ready("sentiment")


def test_unloading_dependents_is_a_flag_and_nothing_else_is(
    client: triton.InferenceServerClient, server: Running
) -> None:
    """Nothing depends on a model here."""
    with grpc.insecure_channel(server.address) as channel:
        request = pb.RepositoryModelUnloadRequest(model_name="sentiment")
        request.parameters["unload_dependents"].string_param = "yes"
        with pytest.raises(grpc.RpcError) as caught:
            GRPCInferenceServiceStub(channel).RepositoryModelUnload(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert client.is_model_ready("sentiment")
    client.unload_model("sentiment", unload_dependents=True)
    assert not client.is_model_ready("sentiment")


def test_the_only_repository_has_no_name(server: Running) -> None:
    """As in Triton, a named one is not supported."""
    with grpc.insecure_channel(server.address) as channel:
        stub = GRPCInferenceServiceStub(channel)
        calls: list[Any] = [
            lambda: stub.RepositoryIndex(pb.RepositoryIndexRequest(repository_name="r")),
            lambda: stub.RepositoryModelLoad(
                pb.RepositoryModelLoadRequest(repository_name="r", model_name="sentiment")
            ),
            lambda: stub.RepositoryModelUnload(
                pb.RepositoryModelUnloadRequest(repository_name="r", model_name="sentiment")
            ),
        ]
        for call in calls:
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_the_extension_is_announced_where_it_works(client: triton.InferenceServerClient) -> None:
    """Clients decide by this list what to ask for."""
    extensions = client.get_server_metadata().extensions
    assert "model_repository" in extensions
    assert "logging" in extensions
    assert "trace" not in extensions, "no trace file was given"


@pytest.mark.parametrize("method", ["load_model", "unload_model"])
def test_without_the_operators_permission_nothing_is_loaded_or_unloaded(toy_server: Running, method: str) -> None:
    """PERMISSION_DENIED with the option that gives it."""
    with triton.InferenceServerClient(toy_server.address) as client:
        code, message = status(getattr(client, method), "sentiment")
        assert code == "PERMISSION_DENIED"
        assert "headstock serve --allow-admin" in message
        assert client.is_model_ready("sentiment")
        assert "model_repository" not in client.get_server_metadata().extensions
