"""What happened to each model's requests outside the scheduler, and the reports made of both halves."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from headstock.digest import short

if TYPE_CHECKING:
    from headstock_server.repository import LoadedModel
    from headstock_server.scheduler import (
        BackboneStatistics,
        BatchStatistics,
        LaneKey,
        ModelStatistics,
        SchedulerStatistics,
        Ticket,
    )
    from headstock_server.scheduler.statistics import ModelKey


@dataclass(slots=True)
class Counters:
    """Sums over one model version's requests since the server started; durations in nanoseconds."""

    lane: LaneKey
    """Where its rows queue: its backbone's lane, or that of the stem that it shares."""
    requests: int = 0
    """Requests answered."""
    success_ns: int = 0
    failures: int = 0
    """Requests refused, failed, expired or cancelled."""
    fail_ns: int = 0
    input_ns: int = 0
    """Validating and preprocessing."""
    output_ns: int = 0
    """From the end of the last pass to the finished answer."""
    hits: int = 0
    """Requests answered from the response cache, which `requests` counts too."""
    hit_ns: int = 0
    misses: int = 0
    """Requests that were looked up in the response cache, were not there, and were answered by a pass."""
    miss_ns: int = 0

    def hit(self, duration: int) -> None:
        """Count one request answered from the response cache."""
        self.requests += 1
        self.success_ns += duration
        self.hits += 1
        self.hit_ns += duration

    def succeeded(self, ticket: Ticket, started: int, finished: int, *, missed: bool = False) -> None:
        """Count one answered request; times from `monotonic_ns`. `missed` if it was looked up in the cache."""
        if missed:
            self.misses += 1
            self.miss_ns += finished - started
        self.requests += 1
        self.success_ns += finished - started
        self.input_ns += ticket.timings.submitted_ns - started
        self.output_ns += finished - ticket.timings.finished_ns

    def failed(self, duration: int) -> None:
        """Count one request that got no answer."""
        self.failures += 1
        self.fail_ns += duration


class Statistics:
    """Counters by model name and version number. Event loop only."""

    def __init__(self, forget: Callable[[Collection[ModelKey]], None] | None = None, kept: int = 4096) -> None:
        """Count; `forget` is told which versions are dropped.

        Counters outlive the loading of a version, so that they only grow while it comes and goes; but of versions that
        are not loaded, about the latest `kept` are kept.
        """
        self._forget = forget
        self._kept = self._limit = kept
        self._counters: dict[ModelKey, Counters] = {}
        self._live: WeakKeyDictionary[LoadedModel, Counters] = WeakKeyDictionary()

    def of(self, model: LoadedModel) -> Counters:
        """The counters of one version, made on first use."""
        counters = self._live.get(model)
        return self._met(model) if counters is None else counters

    def _met(self, model: LoadedModel) -> Counters:
        """The same for a model that was loaded since."""
        key = (model.name, model.number)
        counters = self._counters.pop(key, None) or Counters(model.backbone.lane)
        counters.lane = model.backbone.lane
        # At the end: what was loaded longest ago is dropped first.
        self._counters[key] = self._live[model] = counters
        if len(self._counters) > self._limit:
            self._drop()
        return counters

    def _drop(self) -> None:
        live = {(model.name, model.number) for model in self._live}
        gone = [key for key in self._counters if key not in live]
        dropped = gone[: max(0, len(gone) - self._kept // 2)]
        for key in dropped:
            del self._counters[key]
        self._limit = len(self._counters) + self._kept // 2
        if dropped and self._forget is not None:
            self._forget(dropped)

    def models(self, scheduler: SchedulerStatistics) -> list[ModelReport]:
        """Every version that was ever asked for, by name and number."""
        return [
            _model_report(name, number, self._counters[name, number], scheduler.models.get((name, number)))
            for name, number in sorted(self._counters)
        ]

    def backbones(self, scheduler: SchedulerStatistics, loaded: Iterable[LoadedModel]) -> list[BackboneReport]:
        """Every lane that is loaded or has run."""
        slots: dict[LaneKey, set[int]] = {}
        for model in loaded:
            slots.setdefault(model.backbone.lane, set()).add(model.adapter_slot)
        return [
            # Slot 0 is no adapter.
            self._backbone_report(lane, scheduler.backbones.get(lane), len(slots.get(lane, set()) - {0}))
            for lane in sorted({*slots, *scheduler.backbones})
        ]

    def _backbone_report(self, lane: LaneKey, seen: BackboneStatistics | None, adapters_held: int) -> BackboneReport:
        return BackboneReport(
            digest=lane.backbone,
            adapters=lane.adapters,
            adapters_held=adapters_held,
            device=lane.device,
            passes=seen.passes if seen else 0,
            mixed_passes=seen.mixed_passes if seen else 0,
            rows=seen.rows if seen else 0,
            rows_reused=seen.reused_rows if seen else 0,
            requests=sum(c.requests for c in self._counters.values() if c.lane == lane),
            tokens_real=seen.real_tokens if seen else 0,
            tokens_padded=seen.padded_tokens if seen else 0,
            queued_rows=seen.queued_rows if seen else 0,
            batches=seen.batches if seen else {},
        )


@dataclass(frozen=True, slots=True)
class ModelReport:
    """One model version: requests as callers saw them, passes as the scheduler did."""

    name: str
    number: int
    requests: int
    success_ns: int
    failures: int
    fail_ns: int
    rows: int
    """Rows that went through a backbone for it."""
    passes: int
    """Passes that held at least one of its rows."""
    queue_ns: int
    input_ns: int
    """Validating, preprocessing and building graph inputs."""
    infer_ns: int
    output_ns: int
    last_ms: int
    """Milliseconds since the epoch of the latest pass; 0 before the first."""
    batches: Mapping[int, BatchStatistics]
    """By the model's own rows in a pass."""
    cache_hits: int = 0
    cache_hit_ns: int = 0
    cache_misses: int = 0
    cache_miss_ns: int = 0


@dataclass(frozen=True, slots=True)
class BackboneReport:
    """One lane's passes; `headstock.v1.BackboneStatistics` explains the fields."""

    digest: str
    adapters: str
    """Digest of the graph that takes adapters; empty for the plain backbone, which has a lane of its own."""
    adapters_held: int
    device: str
    passes: int
    mixed_passes: int
    rows: int
    rows_reused: int
    requests: int
    tokens_real: int
    tokens_padded: int
    queued_rows: int
    batches: Mapping[int, BatchStatistics]
    """By rows of the pass."""

    @property
    def name(self) -> str:
        """What its row is called among models."""
        adapted = f"+adapters:{short(self.adapters)}" if self.adapters else ""
        return f"backbone:{short(self.digest)}{adapted}"

    @property
    def infer_ns(self) -> int:
        """Time that the passes took."""
        return sum(batch.infer_ns for batch in self.batches.values())


def unused(name: str, number: int) -> ModelReport:
    """The report on a version that was never loaded."""
    return ModelReport(
        name=name,
        number=number,
        requests=0,
        success_ns=0,
        failures=0,
        fail_ns=0,
        rows=0,
        passes=0,
        queue_ns=0,
        input_ns=0,
        infer_ns=0,
        output_ns=0,
        last_ms=0,
        batches={},
    )


def _model_report(name: str, number: int, counters: Counters, seen: ModelStatistics | None) -> ModelReport:
    return ModelReport(
        name=name,
        number=number,
        requests=counters.requests,
        success_ns=counters.success_ns,
        failures=counters.failures,
        fail_ns=counters.fail_ns,
        rows=seen.rows if seen else 0,
        passes=seen.executions if seen else 0,
        queue_ns=seen.queue_ns if seen else 0,
        input_ns=counters.input_ns + (seen.input_ns if seen else 0),
        infer_ns=seen.infer_ns if seen else 0,
        output_ns=counters.output_ns,
        last_ms=seen.last_ns // 1_000_000 if seen else 0,
        batches=seen.batches if seen else {},
        cache_hits=counters.hits,
        cache_hit_ns=counters.hit_ns,
        cache_misses=counters.misses,
        cache_miss_ns=counters.miss_ns,
    )
