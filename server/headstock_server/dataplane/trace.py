"""A line of JSON with the timings of every n-th request, in a file that the operator chose."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from queue import Full, Queue
from typing import Any

from headstock.errors import FailedPrecondition, InvalidInput
from headstock_server.dataplane.messages import InferResponse
from headstock_server.scheduler import Ticket

log = logging.getLogger("headstock.server")

LEVELS = ("OFF", "TIMESTAMPS")
_WAITING = 4096
"""Traces that wait for the disk; more are dropped and counted, for a slow disk must not slow requests."""


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """What is traced."""

    trace_level: str = "OFF"
    """`OFF`, or `TIMESTAMPS`."""
    trace_rate: int = 1000
    """One request in so many."""
    trace_count: int = -1
    """How many traces are still to be written; -1 has no end."""


_NAMES = tuple(field.name for field in fields(TraceSettings))


class Tracer:
    """Samples answered requests and writes their traces from a thread of its own. Called on the event loop."""

    def __init__(self, file: Path | None) -> None:
        """Append to `file`; None can trace nothing. Raises `FailedPrecondition` if it cannot be written."""
        self.active = False
        """True if any model is traced: the one thing that the path of a request looks at."""
        self.possible = file is not None
        self._common = TraceSettings()
        self._models: dict[str, dict[str, str | int]] = {}
        self._seen: dict[str, int] = {}
        self._id = self._dropped = 0
        self._queue: Queue[str | None] = Queue(_WAITING)
        self._thread = threading.Thread(target=self._write, name="headstock-trace", daemon=True)
        if file is not None:
            try:
                self._file = file.open("a", encoding="utf-8")
            except OSError as error:
                raise FailedPrecondition(
                    f"the trace file {file.name!r} cannot be written: {error.strerror}",
                    fix="--trace-file FILE in a folder that exists",
                ) from None
            self._thread.start()

    def close(self) -> None:
        """Write what waits, and end."""
        self.active = False
        if self.possible:
            self._queue.put(None)
            self._thread.join()
            self._file.close()

    def settings(self, model: str = "") -> TraceSettings:
        """What holds for a model, or for those without settings of their own."""
        own = self._models.get(model)
        return replace(self._common, **own) if own else self._common  # type: ignore[arg-type]

    def update(self, changes: Mapping[str, str | None], model: str = "") -> TraceSettings:
        """Change what is named, for one model or for all without settings of their own; None takes a change back.

        All of it or nothing. Raises `InvalidInput`, and `FailedPrecondition` if there is no file to trace to.
        """
        values = {name: _value(name, text) for name, text in changes.items()}
        if not self.possible and values.get("trace_level", "OFF") not in (None, "OFF"):
            raise FailedPrecondition(
                "this server has no file to write traces to, and clients do not name files",
                fix="headstock serve --trace-file FILE",
            )
        if model:
            own = {**self._models.get(model, {}), **{k: v for k, v in values.items() if v is not None}}
            self._models[model] = {k: v for k, v in own.items() if values.get(k, v) is not None}
        else:
            initial = TraceSettings()
            known = {k: getattr(initial, k) if v is None else v for k, v in values.items()}
            self._common = replace(self._common, **known)  # type: ignore[arg-type]
        every = [self._common, *map(self.settings, self._models)]
        self.active = any(s.trace_level != "OFF" and s.trace_count != 0 for s in every)
        return self.settings(model)

    def record(self, response: InferResponse, ticket: Ticket, started: int, ended: int) -> None:
        """An answered request, from `started` to `ended` in monotonic nanoseconds; most are not the n-th."""
        settings = self.settings(response.model)
        if settings.trace_level == "OFF" or settings.trace_count == 0:
            return
        seen = self._seen[response.model] = self._seen.get(response.model, 0) + 1
        if seen % settings.trace_rate:
            return
        self._spend(response.model, settings)
        self._id += 1
        try:
            self._queue.put_nowait(json.dumps(_trace(self._id, response, ticket, started, ended)))
        except Full:
            self._dropped += 1

    def _spend(self, model: str, settings: TraceSettings) -> None:
        if settings.trace_count > 0:
            counted = model if "trace_count" in self._models.get(model, {}) else ""
            self.update({"trace_count": str(settings.trace_count - 1)}, counted)

    def _write(self) -> None:
        while (line := self._queue.get()) is not None:
            try:
                self._file.write(line + "\n")
                if self._queue.empty():
                    self._file.flush()
            except OSError as error:
                self._dropped += 1
                log.warning("a trace could not be written: %s", error.strerror)
        if self._dropped:
            log.warning("%d traces were dropped because the disk did not keep up", self._dropped)


def _value(name: str, text: str | None) -> str | int | None:
    if name not in _NAMES:
        raise InvalidInput(f"trace setting {name[:80]!r} is not one that clients set; expected one of {_NAMES}")
    if text is None:
        return None
    if name == "trace_level":
        if text not in LEVELS:
            raise InvalidInput(f"trace_level is {text[:80]!r}; expected one of {LEVELS}")
        return text
    least = 1 if name == "trace_rate" else -1
    digits = text.removeprefix("-")
    if not (digits.isdecimal() and len(digits) <= 10 and least <= int(text) < 2**31):
        raise InvalidInput(f"{name} is {text[:80]!r}; expected an integer of {least} or more")
    return int(text)


def _trace(number: int, response: InferResponse, ticket: Ticket, started: int, ended: int) -> dict[str, Any]:
    timings = ticket.timings
    steps = (
        ("REQUEST_START", started),
        ("QUEUE_START", timings.submitted_ns),
        ("COMPUTE_START", timings.started_ns),
        ("COMPUTE_END", timings.finished_ns),
        ("REQUEST_END", ended),
    )
    return {
        "id": number,
        "model_name": response.model,
        "model_version": int(response.version),
        "request_id": response.id,
        "rows": len(ticket.rows),
        "batch_rows": timings.batch_rows,
        "passes": timings.passes,
        "timestamps": [{"name": name, "ns": ns} for name, ns in steps],
    }
