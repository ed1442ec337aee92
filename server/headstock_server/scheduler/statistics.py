"""What the scheduler counted, per backbone and per model, as frozen snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from headstock_server.scheduler.contract import LaneKey
from headstock_server.scheduler.policy import Reason

ModelKey = tuple[str, int]
"""Name and version number."""


@dataclass(frozen=True, slots=True)
class BatchStatistics:
    """Passes of one size."""

    count: int
    input_ns: int
    """Building graph inputs."""
    infer_ns: int
    """Backbone and heads."""


@dataclass(frozen=True, slots=True)
class BackboneStatistics:
    """One lane since the scheduler started."""

    passes: int
    rows: int
    reused_rows: int
    """Of `rows`, those that were answered from what the backbone had computed for an equal one in the pass."""
    mixed_passes: int
    """Passes that held rows of more than one model."""
    real_tokens: int
    padded_tokens: int
    """Computed rows times the longest one, summed over passes: `real_tokens / padded_tokens` is the fill."""
    failed_passes: int
    """Passes that the runtime refused and that were run again row by row."""
    queued_rows: int
    """Rows that wait now."""
    tokens_per_second: float
    """Recent rate of padded tokens."""
    batches: Mapping[int, BatchStatistics]
    """By rows of the pass."""


@dataclass(frozen=True, slots=True)
class ModelStatistics:
    """One model version since the scheduler started."""

    requests: int
    """Requests answered with a result."""
    failed: int
    """Requests answered with an error, expired ones included."""
    cancelled: int
    rows: int
    """Rows that went through a backbone for it."""
    executions: int
    """Passes that held at least one of its rows."""
    last_ns: int
    """Wall clock of its latest pass in nanoseconds since the epoch, 0 if there was none."""
    success_ns: int
    """Submission to delivery, summed over answered requests."""
    failed_ns: int
    queue_ns: int
    """Waiting, summed over answered requests."""
    input_ns: int
    """Building graph inputs, summed over answered requests."""
    infer_ns: int
    """Backbone and heads, summed over answered requests."""
    batches: Mapping[int, BatchStatistics]
    """By the model's own rows in the pass."""


class PassRecord(NamedTuple):
    """One pass that ran, and why it was what it was."""

    lane: LaneKey
    tenants: Mapping[str, int]
    """Its rows by tenant; "" stands for all callers whose name does not count."""
    at_ns: int
    """When it was chosen, monotonic nanoseconds."""
    reason: Reason | None
    """Why it was no larger."""
    models: Mapping[ModelKey, int]
    """Its rows by model version."""
    longest: int
    """Tokens of the longest row."""
    real_tokens: int
    """Of the rows that the backbone computed."""
    padded_tokens: int
    budget_tokens: int
    """What a pass of this lane may hold."""
    waited_ns: int
    """How long its oldest request had waited."""
    ran_ns: int
    """Inputs, backbone and heads."""
    failed: bool
    """True if the runtime refused it and its rows ran one by one."""
    reused: int = 0
    """Rows that were answered from what the backbone had computed for an equal one."""


@dataclass(frozen=True, slots=True)
class SchedulerStatistics:
    """A snapshot of everything counted."""

    queued_rows: int
    queued_tokens: int
    refused: int
    """Requests refused because the queue was full."""
    backbones: Mapping[LaneKey, BackboneStatistics] = field(default_factory=dict)
    models: Mapping[ModelKey, ModelStatistics] = field(default_factory=dict)
