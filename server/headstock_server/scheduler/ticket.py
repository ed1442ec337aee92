"""One request on its way through the scheduler: rows in, head outputs or an error out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from headstock.errors import HeadstockError
from headstock.preprocess import Row
from headstock_server.scheduler.contract import Model
from headstock_server.scheduler.fairness import level_of

_ENDLESS = float(1 << 33)
"""Deadlines later than this many monotonic seconds, some 270 years, are none: in nanoseconds they fit no integer."""

Floats = npt.NDArray[np.float32]
Outputs: TypeAlias = Floats | list[Floats]
"""Raw head outputs: [n, ...], or a list of one array [positions, out] per row where rows differ in length."""


class Timings:
    """Where a request's time went, in monotonic nanoseconds; complete when the ticket is delivered."""

    __slots__ = ("batch_rows", "finished_ns", "infer_ns", "input_ns", "passes", "started_ns", "submitted_ns")

    def __init__(self) -> None:
        self.submitted_ns = 0
        self.started_ns = 0
        """When the first of its rows was picked; 0 if none ever was."""
        self.finished_ns = 0
        self.input_ns = 0
        """Building graph inputs, summed over the passes it took part in."""
        self.infer_ns = 0
        """Backbone and heads, summed over the passes it took part in."""
        self.batch_rows = 0
        """Rows of the largest pass it took part in, other requests' rows included."""
        self.passes = 0

    @property
    def queue_ns(self) -> int:
        """From submission until the first row was picked, or until the end if none was."""
        return (self.started_ns or self.finished_ns) - self.submitted_ns


class Ticket:
    """A request's rows for one model, all of which are answered together.

    The data plane makes it, submits it and may set `cancelled` at any time from any thread; everything else is the
    scheduler's until the ticket is delivered. A cancelled ticket is never delivered.
    """

    __slots__ = ("_cancelled", "_on_cancel", "context", "deadline", "model", "outputs", "owner", "priority",
                 "remaining", "result", "rows", "tenant", "timings", "waiting")  # fmt: skip

    def __init__(
        self,
        model: Model,
        rows: list[Row],
        deadline: float | None = None,
        context: Any = None,
        *,
        tenant: str = "",
        priority: int = 0,
    ) -> None:
        self.model = model
        self.rows = rows
        self.deadline = None if deadline is None or deadline > _ENDLESS else deadline
        """`time.monotonic()` seconds after which nobody wants the answer."""
        self.context = context
        """The caller's own, e.g. a future; the scheduler does not look at it."""
        self.tenant = tenant
        """Who asks; tenants take turns."""
        self.priority = level_of(priority)
        """1 is the highest, then 2 and 3; 0 is the default, and what every other number means."""
        self.result: Outputs | HeadstockError | None = None
        """Raw head outputs of all rows, or why there are none; None until delivered."""
        self.timings = Timings()
        self.outputs: Outputs | None = None
        self.remaining = len(rows)
        """Rows that have no outputs yet."""
        self.owner = -1
        """Its number in its lane."""
        self.waiting = 0
        """Rows that are still in the lane."""
        self._cancelled = False
        self._on_cancel: Callable[[Ticket], None] | None = None

    @property
    def cancelled(self) -> bool:
        """True once the caller has gone: rows that still wait will never run."""
        return self._cancelled

    @cancelled.setter
    def cancelled(self, value: bool) -> None:
        self._cancelled = value
        if value and self.result is None and self._on_cancel is not None:
            self._on_cancel(self)

    def queued(self, on_cancel: Callable[[Ticket], None]) -> None:
        """The scheduler took it; `on_cancel` is told when the caller goes from now on."""
        self.timings.submitted_ns = time.monotonic_ns()
        self._on_cancel = on_cancel

    def answer(self, row: int, values: Outputs) -> bool:
        """Store one row's outputs, [1, ...] or a list of one array; True when it was the last one missing."""
        if self.remaining == 1 and self.outputs is None:
            self.outputs = values
        else:
            if self.outputs is None:
                self.outputs = _room(len(self.rows), values)
            self.outputs[row] = values[0]
        self.remaining -= 1
        return self.remaining == 0

    def __repr__(self) -> str:
        state = "open" if self.result is None else "failed" if isinstance(self.result, HeadstockError) else "answered"
        return f"Ticket({self.model.name}:{self.model.number}, rows={len(self.rows)}, {state})"


def _room(rows: int, values: Outputs) -> Outputs:
    """Where the outputs of that many rows like `values` go."""
    return list(values) * rows if isinstance(values, list) else np.empty((rows, *values.shape[1:]), np.float32)
