"""The counters behind the statistics: written once per pass, under the scheduler's lock."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable

from headstock.errors import HeadstockError
from headstock_server.scheduler.contract import Backbone, LaneKey
from headstock_server.scheduler.execution import Executed
from headstock_server.scheduler.lane import Pass
from headstock_server.scheduler.statistics import (
    BackboneStatistics,
    BatchStatistics,
    ModelKey,
    ModelStatistics,
    PassRecord,
)
from headstock_server.scheduler.ticket import Ticket

_RECENT = 256
"""Passes that are remembered."""
_SETTLED = 10
"""Passes whose mean a lane's rate is."""
_CLIP = 2.0
"""A pass that took longer than this times what the rate says counts as that much."""
_LANES = 1024
"""Lanes whose counters are kept; of more, those that were asked for longest ago are dropped while nothing waits in
them."""


class _Batches(defaultdict[int, list[int]]):
    """Rows to [count, input_ns, infer_ns]."""

    def __init__(self) -> None:
        super().__init__(lambda: [0, 0, 0])

    def add(self, rows: int, input_ns: int, infer_ns: int) -> None:
        entry = self[rows]
        entry[0] += 1
        entry[1] += input_ns
        entry[2] += infer_ns

    def snapshot(self) -> dict[int, BatchStatistics]:
        return {rows: BatchStatistics(*entry) for rows, entry in sorted(self.items())}


class LaneCounters:
    """Counters of one lane. Callers hold the scheduler's lock."""

    __slots__ = (
        "batches",
        "failed_passes",
        "mixed",
        "padded",
        "passes",
        "queued",
        "queued_tokens",
        "real",
        "reused",
        "rows",
        "timed",
        "token_ns",
        "waiting_ns",
    )

    def __init__(self, token_ns: float, *, known: bool) -> None:
        self.passes = self.rows = self.mixed = self.real = self.padded = self.failed_passes = self.queued = (
            self.reused
        ) = 0
        self.queued_tokens, self.waiting_ns = 0, 0.0
        self.token_ns = token_ns
        self.timed = _SETTLED if known else 0
        """Passes behind the rate; 0 while it is only assumed: then nobody is turned away by it."""
        self.batches = _Batches()

    def record(self, rows: int, real: int, padded: int, mixed: bool, input_ns: int, infer_ns: int) -> None:
        """One pass that ran."""
        self.passes += 1
        self.rows += rows
        self.real += real
        self.padded += padded
        self.mixed += mixed
        # The rate decides who is refused and how long he is told to wait: it moves slowly, and one stall counts little.
        taken = (input_ns + infer_ns) / padded
        if self.timed:
            taken = min(taken, _CLIP * self.token_ns)
        self.timed = min(self.timed + 1, _SETTLED)
        self.token_ns += (taken - self.token_ns) / self.timed
        self.batches.add(rows, input_ns, infer_ns)

    def snapshot(self) -> BackboneStatistics:
        """A frozen copy."""
        return BackboneStatistics(
            passes=self.passes,
            rows=self.rows,
            reused_rows=self.reused,
            mixed_passes=self.mixed,
            real_tokens=self.real,
            padded_tokens=self.padded,
            failed_passes=self.failed_passes,
            queued_rows=self.queued,
            tokens_per_second=1e9 / max(self.token_ns, 1e-3),
            batches=self.batches.snapshot(),
        )


class ModelCounters:
    """Counters of one model version. Callers hold the scheduler's lock."""

    __slots__ = ("batches", "cancelled", "executions", "failed", "failed_ns", "infer_ns", "input_ns", "last_ns",
                 "queue_ns", "requests", "rows", "success_ns")  # fmt: skip

    def __init__(self) -> None:
        self.requests = self.failed = self.cancelled = self.rows = self.executions = self.last_ns = 0
        self.success_ns = self.failed_ns = self.queue_ns = self.input_ns = self.infer_ns = 0
        self.batches = _Batches()

    def ran(self, rows: int, input_ns: int, infer_ns: int) -> None:
        """A pass held `rows` of its rows."""
        self.rows += rows
        self.executions += 1
        self.last_ns = time.time_ns()
        self.batches.add(rows, input_ns, infer_ns)

    def snapshot(self) -> ModelStatistics:
        """A frozen copy."""
        return ModelStatistics(
            requests=self.requests,
            failed=self.failed,
            cancelled=self.cancelled,
            rows=self.rows,
            executions=self.executions,
            last_ns=self.last_ns,
            success_ns=self.success_ns,
            failed_ns=self.failed_ns,
            queue_ns=self.queue_ns,
            input_ns=self.input_ns,
            infer_ns=self.infer_ns,
            batches=self.batches.snapshot(),
        )


class Recorder:
    """All counters of a scheduler. Callers hold the scheduler's lock."""

    __slots__ = ("_lanes", "_models", "recent", "waiting_ns")

    def __init__(self) -> None:
        self.recent: deque[PassRecord] = deque(maxlen=_RECENT)
        """The latest passes, oldest first."""
        self.waiting_ns = 0.0
        """How long what waits would take one runner, by the lanes' latest rates."""
        self._lanes: OrderedDict[LaneKey, LaneCounters] = OrderedDict()
        self._models: dict[ModelKey, ModelCounters] = {}

    def lane(self, backbone: Backbone) -> LaneCounters:
        """The counters of a backbone's lane, made on first use with the profiled rate."""
        key = backbone.lane
        counters = self._lanes.get(key)
        if counters is None:
            counters = self._lanes[key] = LaneCounters(backbone.token_ns, known=bool(backbone.measured))
            if len(self._lanes) > _LANES:
                idle = [k for k, c in self._lanes.items() if not c.queued and k != key]
                for old in idle[: _LANES // 2]:
                    del self._lanes[old]
        self._lanes.move_to_end(key)
        return counters

    def queued(self, counters: LaneCounters, rows: int, tokens: int) -> None:
        """Rows joined a lane's queue, or left it if the numbers are negative."""
        counters.queued += rows
        counters.queued_tokens += tokens
        self.waiting_ns -= counters.waiting_ns
        counters.waiting_ns = counters.queued_tokens * counters.token_ns if counters.timed else 0.0
        self.waiting_ns += counters.waiting_ns

    def left(self, key: LaneKey, rows: int, tokens: int) -> None:
        """Rows left a lane's queue."""
        self.queued(self._lanes[key], -rows, -tokens)

    def forget(self, models: Iterable[ModelKey]) -> None:
        """Drop the counters of these versions."""
        for key in models:
            self._models.pop(key, None)

    def ran(self, work: Pass, executed: Executed) -> PassRecord:
        """A pass ended; each ticket in it is charged with the whole of its time."""
        rows, input_ns, infer_ns = len(work.rows), executed.input_ns, executed.infer_ns
        models = Counter((ticket.model.name, ticket.model.number) for ticket in work.tickets)
        lane = self._lanes[work.lane]
        lane.record(rows, executed.real_tokens, executed.padded_tokens, len(models) > 1, input_ns, infer_ns)
        lane.reused += executed.reused
        lane.failed_passes += executed.reran
        for key, own_rows in models.items():
            self._model(key).ran(own_rows, input_ns, infer_ns)
        oldest = work.at_ns
        for ticket in dict.fromkeys(work.tickets):
            timings = ticket.timings
            oldest = min(oldest, timings.submitted_ns)
            timings.passes += 1
            timings.input_ns += input_ns
            timings.infer_ns += infer_ns
            timings.batch_rows = max(timings.batch_rows, rows)
        record = PassRecord(
            lane=work.lane,
            tenants=Counter(ticket.tenant for ticket in work.tickets),
            at_ns=work.at_ns,
            reason=work.reason,
            models=models,
            longest=max([row.length for row in work.rows]),
            real_tokens=executed.real_tokens,
            padded_tokens=executed.padded_tokens,
            budget_tokens=work.backbone.budget.tokens,
            waited_ns=work.at_ns - oldest,
            ran_ns=input_ns + infer_ns,
            failed=executed.reran,
            reused=executed.reused,
        )
        self.recent.append(record)
        return record

    def closed(self, ticket: Ticket) -> None:
        """A ticket has its result."""
        counters, timings = self._model((ticket.model.name, ticket.model.number)), ticket.timings
        total = timings.finished_ns - timings.submitted_ns
        if ticket.cancelled:
            counters.cancelled += 1
        elif isinstance(ticket.result, HeadstockError):
            counters.failed += 1
            counters.failed_ns += total
        else:
            counters.requests += 1
            counters.success_ns += total
            counters.queue_ns += timings.queue_ns
            counters.input_ns += timings.input_ns
            counters.infer_ns += timings.infer_ns

    def backbones(self) -> dict[LaneKey, BackboneStatistics]:
        """Frozen copies."""
        return {key: counters.snapshot() for key, counters in self._lanes.items()}

    def models(self) -> dict[ModelKey, ModelStatistics]:
        """Frozen copies."""
        return {key: counters.snapshot() for key, counters in self._models.items()}

    def _model(self, key: ModelKey) -> ModelCounters:
        counters = self._models.get(key)
        if counters is None:
            counters = self._models[key] = ModelCounters()
        return counters
