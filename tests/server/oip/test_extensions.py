"""Triton's extensions: each is held to its rules where it is announced, and refused cleanly where it is not offered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from headstock.oip import open_inference_grpc_pb2 as pb

Need = Callable[[str], None]


def answer_or_skip(target: Any, method: Callable[[Any], Any], request: Any) -> Any:
    """The answer of a call that another server may not have; ours must have it."""
    try:
        return method(request)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED and not target.ours:
            pytest.skip("the server does not offer this call")
        raise


def test_the_configuration_agrees_with_the_metadata(stub: Any, target: Any, extension: Need) -> None:
    """perf_analyzer refuses a model whose two descriptions differ; dims leave the batch axis out."""
    extension("model_configuration")
    config = stub.ModelConfig(pb.ModelConfigRequest(name=target.model)).config
    metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name=target.model))
    assert config.name == target.model
    for described, configured in ((metadata.inputs, config.input), (metadata.outputs, config.output)):
        shapes = {t.name: list(t.shape) for t in described}
        assert {t.name for t in configured} <= set(shapes)
        for tensor in configured:
            dims = shapes[tensor.name][1:] if config.max_batch_size > 0 else shapes[tensor.name]
            assert list(tensor.dims) == dims


def test_statistics_count_requests_and_rows(stub: Any, target: Any, extension: Need) -> None:
    """inference_count is rows, execution_count is passes, both only grow."""
    extension("statistics")

    def counters() -> tuple[int, int, int]:
        response = stub.ModelStatistics(pb.ModelStatisticsRequest(name=target.model))
        rows = [s for s in response.model_stats if s.name == target.model]
        return (
            sum(s.inference_stats.success.count for s in rows),
            sum(s.inference_count for s in rows),
            sum(s.execution_count for s in rows),
        )

    before = counters()
    for _ in range(3):
        stub.ModelInfer(target.request())
    after = counters()
    assert after[0] - before[0] == 3
    assert after[1] - before[1] >= 3
    assert 1 <= after[2] - before[2] <= after[1] - before[1]


def test_classification_answers_scores_with_indices(stub: Any, target: Any, extension: Need) -> None:
    """BYTES of `score:index` or `score:index:label`, best first."""
    extension("classification")
    metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name=target.model))
    scores = [o for o in metadata.outputs if o.datatype == "FP32" and len(o.shape) == 2]
    if not scores:
        pytest.skip("the model has no output [rows, classes]")
    request = target.request()
    request.outputs.add(name=scores[0].name).parameters["classification"].int64_param = 2
    response = stub.ModelInfer(request)
    assert response.outputs[0].datatype == "BYTES"
    raw, at, best = response.raw_output_contents[0], 0, []
    while at < len(raw):
        size = int.from_bytes(raw[at : at + 4], "little")
        best.append(raw[at + 4 : at + 4 + size].decode().split(":"))
        at += 4 + size
    assert all(parts[1].isdigit() for parts in best)
    rows, count = response.outputs[0].shape
    for row in range(rows):
        values = [float(parts[0]) for parts in best[row * count : (row + 1) * count]]
        assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("field, value", [("int64_param", 1), ("uint64_param", 1)])
def test_priority_may_be_signed_or_unsigned(stub: Any, target: Any, extension: Need, field: str, value: int) -> None:
    """Clients send both."""
    extension("parameters")
    request = target.request()
    setattr(request.parameters["priority"], field, value)
    assert stub.ModelInfer(request).outputs


def test_reserved_parameters_are_refused(stub: Any, target: Any, extension: Need) -> None:
    """What begins with `triton_` has a meaning or is an error."""
    extension("parameters")
    request = target.request()
    request.parameters["triton_no_such"].bool_param = True
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_the_repository_index_has_the_model_with_its_state(stub: Any, target: Any) -> None:
    """READY, for it just answered."""
    stub.ModelInfer(target.request())
    index = answer_or_skip(target, stub.RepositoryIndex, pb.RepositoryIndexRequest(ready=True))
    assert "READY" in {m.state for m in index.models if m.name == target.model}


def test_a_stream_answers_each_request_and_carries_errors_inside(stub: Any, target: Any) -> None:
    """The call ends with OK though one of its requests was wrong."""
    requests = [target.request(id="1"), target.request(id="2", model_name="no-such-model"), target.request(id="3")]
    call = stub.ModelStreamInfer(iter(requests))
    answers = answer_or_skip(target, lambda _: list(call), None)
    good = [a.infer_response for a in answers if not a.error_message]
    assert {r.id for r in good} == {"1", "3"}
    assert sum(bool(a.error_message) for a in answers) == 1
    assert all(len(r.raw_output_contents) == len(r.outputs) for r in good)
    assert call.code() is grpc.StatusCode.OK


def test_a_stream_ends_with_a_status_for_a_caller_that_asks(stub: Any, target: Any) -> None:
    """Metadata `triton_grpc_error: true`."""
    requests = iter([target.request(model_name="no-such-model")])
    call = stub.ModelStreamInfer(requests, metadata=[("triton_grpc_error", "true")])
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    if caught.value.code() is grpc.StatusCode.UNIMPLEMENTED and not target.ours:
        pytest.skip("the server does not offer streams")
    assert caught.value.code() is not grpc.StatusCode.OK


def test_trace_and_log_settings_can_be_read(stub: Any, target: Any) -> None:
    """By the names that Triton gave them."""
    traces = answer_or_skip(target, stub.TraceSetting, pb.TraceSettingRequest())
    assert {"trace_level", "trace_rate", "trace_count"} <= set(traces.settings)
    logs = answer_or_skip(target, stub.LogSettings, pb.LogSettingsRequest())
    assert {"log_info", "log_warning", "log_error", "log_verbose_level"} <= set(logs.settings)


@pytest.mark.parametrize("kind", ["System", "Cuda"])
def test_shared_memory_is_offered_or_refused_as_a_whole(stub: Any, target: Any, kind: str) -> None:
    """Where it is not announced, asking for its status says so."""
    announced = stub.ServerMetadata(pb.ServerMetadataRequest()).extensions
    request = getattr(pb, f"{kind}SharedMemoryStatusRequest")()
    method = getattr(stub, f"{kind}SharedMemoryStatus")
    if f"{kind.lower()}_shared_memory" in announced:
        assert isinstance(dict(method(request).regions), dict)
    else:
        with pytest.raises(grpc.RpcError) as caught:
            method(request)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
