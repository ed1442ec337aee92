"""What the server says about itself and its models, as tritonclient and perf_analyzer ask for it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from headstock import __version__
from headstock.catalogue import Catalogue
from headstock.names import Reference
from headstock.settings import Settings
from headstock_client import Client
from headstock_server.app import Running, ServeOptions
from headstock_server.engine import EngineOptions
from headstock_server.testing import background_server


@pytest.fixture(scope="module")
def client(toy_server: Running) -> Iterator[triton.InferenceServerClient]:
    """Triton's own client, unchanged."""
    with triton.InferenceServerClient(toy_server.address) as opened:
        yield opened


def text_input(*texts: str) -> triton.InferInput:
    """`text` BYTES [n]."""
    tensor = triton.InferInput("text", [len(texts)], "BYTES")
    tensor.set_data_from_numpy(np.array([t.encode() for t in texts], object))
    return tensor


def test_server_and_models_are_live_and_ready(client: triton.InferenceServerClient) -> None:
    """A model that does not exist is not ready, without an error."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("sentiment")
    assert client.is_model_ready("sentiment", "1")
    assert not client.is_model_ready("sentiment", "2")
    assert not client.is_model_ready("nothing")


def test_only_extensions_that_work_are_announced(client: triton.InferenceServerClient) -> None:
    """Clients decide by this list what to ask for."""
    metadata = client.get_server_metadata()
    assert (metadata.name, metadata.version) == ("headstock", __version__)
    works = {"classification", "model_configuration", "statistics", "parameters", "schedule_policy"}
    assert works <= set(metadata.extensions)
    assert not {"sequence", "system_shared_memory", "cuda_shared_memory", "model_repository"} & set(metadata.extensions)


def test_metadata_lists_both_ways_to_send_inputs(client: triton.InferenceServerClient) -> None:
    """Shapes include the batch axis as -1."""
    metadata = client.get_model_metadata("intents")
    assert (metadata.name, list(metadata.versions), metadata.platform) == ("intents", ["1"], "headstock_onnxruntime")
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.inputs] == [
        ("text", "BYTES", [-1]),
        ("input_ids", "INT64", [-1, -1]),
        ("attention_mask", "INT64", [-1, -1]),
    ]
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.outputs] == [
        ("logits", "FP32", [-1, 3]),
        ("probabilities", "FP32", [-1, 3]),
        ("label", "BYTES", [-1]),
    ]


def test_configuration_and_metadata_fit_together(client: triton.InferenceServerClient) -> None:
    """perf_analyzer drops metadata's first axis and wants the rest to equal the configuration's."""
    config = client.get_model_config("intents").config
    metadata = client.get_model_metadata("intents")
    assert config.max_batch_size > 0
    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    assert not config.model_transaction_policy.decoupled
    for described, configured in zip(metadata.inputs, config.input, strict=True):
        assert (described.name, list(described.shape[1:])) == (configured.name, list(configured.dims))
        assert configured.optional
    for described, configured in zip(metadata.outputs, config.output, strict=True):
        assert (described.name, list(described.shape[1:])) == (configured.name, list(configured.dims))


def test_configuration_says_what_the_model_is_made_of(
    client: triton.InferenceServerClient, toy_settings: Settings
) -> None:
    """Digests, labels, and what each source declares about the licence."""
    parameters = {k: v.string_value for k, v in client.get_model_config("intents").config.parameters.items()}
    with Catalogue.open(toy_settings) as catalogue:
        version = catalogue.version(Reference("intents"))
        identity = catalogue.artefact(version.subject).identity
    assert parameters["headstock.backbone"] == identity["backbone"]
    assert parameters["headstock.head"] == identity["head"]
    assert json.loads(parameters["labels"]) == ["refund", "delivery", "other"]
    (evidence,) = json.loads(parameters["headstock.licences"])
    assert (evidence["declared"], evidence["source"]) == ("CC0-1.0", "manifest")


def test_the_configuration_says_whether_answers_are_kept(
    client: triton.InferenceServerClient, toy_settings: Settings
) -> None:
    """perf_analyzer reads it: with a cache, equal requests measure something else."""
    assert not client.get_model_config("intents").config.response_cache.enable
    options = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=64), response_cache=1 << 20)
    with background_server(toy_settings, options) as server, triton.InferenceServerClient(server.address) as caching:
        assert caching.get_model_config("intents").config.response_cache.enable


@pytest.mark.parametrize("method", ["get_model_metadata", "get_model_config", "get_inference_statistics"])
def test_an_unknown_model_is_not_found(client: triton.InferenceServerClient, method: str) -> None:
    """Whatever is asked about it."""
    with pytest.raises(InferenceServerException) as caught:
        getattr(client, method)("sentimant")
    assert caught.value.status() == "StatusCode.NOT_FOUND"
    assert "sentiment" in caught.value.message()


def test_the_index_lists_every_model_with_its_state(client: triton.InferenceServerClient) -> None:
    """Backbones are no models."""
    index = client.get_model_repository_index().models
    assert {(m.name, m.version, m.state) for m in index} == {
        ("sentiment", "1", "READY"),
        ("intents", "1", "READY"),
        ("vectors", "1", "READY"),
    }


def test_statistics_count_rows_requests_and_passes(client: triton.InferenceServerClient, toy_server: Running) -> None:
    """Rows are charged to their model, passes to the backbone."""
    before = statistics(client, "intents")
    backbone_before = backbone(client)
    toy_server.scheduler.hold(3)
    client.infer("intents", [text_input("great", "order", "late")])
    client.infer("intents", [text_input("broken")])
    after = statistics(client, "intents")
    assert after.inference_count - before.inference_count == 4
    assert after.execution_count - before.execution_count == 2
    assert after.inference_stats.success.count - before.inference_stats.success.count == 2
    for part in ("queue", "compute_input", "compute_infer", "compute_output"):
        assert getattr(after.inference_stats, part).ns > getattr(before.inference_stats, part).ns
    assert {b.batch_size for b in after.batch_stats} >= {1, 3}
    assert after.last_inference > 1_700_000_000_000
    backbone_after = backbone(client)
    assert backbone_after.inference_count - backbone_before.inference_count == 4
    assert backbone_after.execution_count - backbone_before.execution_count == 2


def test_statistics_count_failures(client: triton.InferenceServerClient) -> None:
    """A refused request is the model's failure."""
    before = statistics(client, "intents").inference_stats.fail.count
    with pytest.raises(InferenceServerException):
        client.infer("intents", [text_input("x")], outputs=[triton.InferRequestedOutput("nothing")])
    assert statistics(client, "intents").inference_stats.fail.count == before + 1


def statistics(client: triton.InferenceServerClient, name: str):  # type: ignore[no-untyped-def]
    """One model's row."""
    (row,) = client.get_inference_statistics(name).model_stats
    return row


def backbone(client: triton.InferenceServerClient):  # type: ignore[no-untyped-def]
    """The pseudo-model of the one backbone."""
    (row,) = [m for m in client.get_inference_statistics().model_stats if m.name.startswith("backbone:")]
    return row


def test_a_pass_with_rows_of_two_models_is_counted_as_mixed(toy_server: Running) -> None:
    """The server's own count of what it shares."""
    import threading

    with Client(toy_server.address) as client:
        (before,) = client.backbone_statistics()
        toy_server.scheduler.hold(2)
        other = threading.Thread(target=client.classify, args=("sentiment", ["great"]))
        other.start()
        client.classify("intents", ["order"])
        other.join()
        (after,) = client.backbone_statistics()
    assert after.requests - before.requests == 2
    assert after.rows - before.rows == 2
    assert after.passes - before.passes == 1
    assert after.mixed_passes - before.mixed_passes == 1
    assert after.tokens_padded - before.tokens_padded == after.tokens_real - before.tokens_real == 6


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.get_system_shared_memory_status(),
        lambda c: c.register_system_shared_memory("r", "/key", 64),
        lambda c: c.get_cuda_shared_memory_status(),
    ],
    ids=["shm status", "shm register", "cuda status"],
)
def test_what_is_not_offered_says_so(client: triton.InferenceServerClient, call) -> None:  # type: ignore[no-untyped-def]
    """UNIMPLEMENTED with the method's name and the reason."""
    with pytest.raises(InferenceServerException, match="is not offered by this server") as caught:
        call(client)
    assert caught.value.status() == "StatusCode.UNIMPLEMENTED"
