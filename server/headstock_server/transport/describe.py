"""Metadata, configuration, index and statistics as Open Inference Protocol messages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from headstock.oip import open_inference_grpc_pb2 as pb
from headstock.records import TensorSpec
from headstock_server.dataplane.limits import Limits
from headstock_server.dataplane.metadata import PLATFORM, ModelDescription, licence_parameters
from headstock_server.dataplane.statistics import BackboneReport, ModelReport
from headstock_server.scheduler import BatchStatistics

_EXTENSIONS = (
    "classification",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "schedule_policy",
)
_FOR_OPERATORS = ("model_repository", "logging")

_TYPES = {"BYTES": "TYPE_STRING"}


def extensions(*, admin: bool, trace: bool) -> tuple[str, ...]:
    """What works, and nothing else: clients decide by this list what to ask for."""
    if not admin:
        return _EXTENSIONS
    return (*_EXTENSIONS, *_FOR_OPERATORS, *(("trace",) if trace else ()))


def metadata(description: ModelDescription) -> pb.ModelMetadataResponse:
    """Inputs (the raw one, then its alternatives), outputs, versions, and what it stands on and may be used for."""
    return pb.ModelMetadataResponse(
        name=description.name,
        versions=[str(number) for number in description.versions],
        platform=PLATFORM,
        inputs=[_tensor(s) for s in (*description.raw_inputs, *description.tensor_inputs)],
        outputs=[_tensor(s) for s in description.outputs],
        properties=_properties(description),
    )


def config(description: ModelDescription, limits: Limits, *, cached: bool = False) -> pb.ModelConfig:
    """Batching, optional inputs, and what this model is made of; `cached` if equal requests may get a kept answer."""
    return pb.ModelConfig(
        name=description.name,
        platform=PLATFORM,
        backend="onnxruntime",
        max_batch_size=limits.rows,
        # Every input is optional: the caller sends either the raw one or the ready tensors.
        input=[_config_input(s) for s in (*description.raw_inputs, *description.tensor_inputs)],
        output=[pb.ModelOutput(name=s.name, data_type=_data_type(s), dims=s.shape[1:]) for s in description.outputs],
        dynamic_batching=pb.ModelDynamicBatching(),
        parameters={k: pb.ModelParameter(string_value=v) for k, v in _parameters(description).items()},
        model_transaction_policy=pb.ModelTransactionPolicy(decoupled=False),
        response_cache=pb.ModelResponseCache(enable=True) if cached else None,
    )


def statistics(models: Iterable[ModelReport], backbones: Iterable[BackboneReport]) -> pb.ModelStatisticsResponse:
    """One row for each model version, then a pseudo-model `backbone:DIGEST` for each lane's own passes.

    A backbone's passes serve many models, so no model can own them: each is charged its rows and the passes it rode
    in, and the pseudo-model holds the true number of executions.
    """
    response = pb.ModelStatisticsResponse()
    for model in models:
        _model_statistics(response.model_stats.add(), model)
    for backbone in backbones:
        row = response.model_stats.add(
            name=backbone.name,
            inference_count=backbone.rows,
            execution_count=backbone.passes,
            inference_stats=pb.InferStatistics(success=_duration(backbone.passes, backbone.infer_ns)),
        )
        _batches(row, backbone.batches)
    return response


def _model_statistics(row: pb.ModelStatistics, model: ModelReport) -> None:
    row.name, row.version = model.name, str(model.number)
    row.last_inference = model.last_ms
    row.inference_count = model.rows
    row.execution_count = model.passes
    answered = model.requests
    # As the protocol has it: the queue's count includes hits, those of computing do not.
    computed = answered - model.cache_hits
    row.inference_stats.CopyFrom(
        pb.InferStatistics(
            success=_duration(answered, model.success_ns),
            fail=_duration(model.failures, model.fail_ns),
            queue=_duration(answered, model.queue_ns),
            compute_input=_duration(computed, model.input_ns),
            compute_infer=_duration(computed, model.infer_ns),
            compute_output=_duration(computed, model.output_ns),
            cache_hit=_duration(model.cache_hits, model.cache_hit_ns),
            cache_miss=_duration(model.cache_misses, model.cache_miss_ns),
        )
    )
    _batches(row, model.batches)


def _batches(row: pb.ModelStatistics, batches: Mapping[int, BatchStatistics]) -> None:
    for size, batch in batches.items():
        row.batch_stats.add(
            batch_size=size,
            compute_input=_duration(batch.count, batch.input_ns),
            compute_infer=_duration(batch.count, batch.infer_ns),
            # Answers are made for each request, after the pass.
            compute_output=_duration(batch.count, 0),
        )


def _duration(count: int, ns: int) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=count, ns=ns)


def _tensor(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.datatype, shape=spec.shape)


def _config_input(spec: TensorSpec) -> pb.ModelInput:
    return pb.ModelInput(name=spec.name, data_type=_data_type(spec), dims=spec.shape[1:], optional=True)


def _data_type(spec: TensorSpec) -> pb.DataType.ValueType:
    return pb.DataType.Value(_TYPES.get(spec.datatype, f"TYPE_{spec.datatype}"))


def _parameters(description: ModelDescription) -> dict[str, str]:
    licences = [
        {"subject": e.subject, "declared": e.value, "source": e.source, "locator": e.locator}
        for e in description.evidence
    ]
    values = {
        **_properties(description),
        "headstock.version": str(description.number),
        "headstock.family": description.family,
        "headstock.head": description.head,
        "headstock.head_type": description.head_type,
        "headstock.licences": json.dumps(licences, ensure_ascii=False),
    }
    if description.labels:
        values["labels"] = json.dumps(description.labels, ensure_ascii=False)
    return values


def _properties(description: ModelDescription) -> dict[str, str]:
    said = {f"headstock.{name}": value for name, value in licence_parameters(description.ruling).items()}
    return {"headstock.backbone": description.backbone, "headstock.licence_declared": description.declared, **said}
