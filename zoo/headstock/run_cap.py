"""Ends runs of a graph that take too long, so that none of them holds its thread for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

_LINGERS = 5.0
"""Seconds for which the watching thread waits for another run before it ends."""


@cache
def run_cap(seconds: float) -> RunCap:
    """The one cap of that length: every graph that has it is watched by the same thread."""
    return RunCap(seconds)


class RunCap:
    """Watches runs and tells those that last too long to end. Thread-safe; its thread sleeps while none is late.

    ONNX Runtime looks up between two operators, so a run ends with the operator that is at work.
    """

    def __init__(self, seconds: float, make: Callable[[], Any] | None = None) -> None:
        """End runs after `seconds`; `make` gives what ends a run when its `terminate` is set: run options."""
        self.seconds = seconds
        self._make = make or _run_options
        self._changed = threading.Condition()
        # All runs get the same time, so the first to start is the first that is late.
        self._running: dict[int, tuple[float, Any]] = {}
        self._watched = False
        self._idle = False

    def start(self) -> Any:
        """A run begins; returns its options, to be given to `end`."""
        options = self._make()
        with self._changed:
            self._running[id(options)] = (time.monotonic() + self.seconds, options)
            if not self._watched:
                self._watched = True
                threading.Thread(target=self._watch, name="run-cap", daemon=True).start()
            elif self._idle:
                self._changed.notify()
        return options

    def end(self, options: Any) -> bool:
        """The run is over; True if it was told to end."""
        with self._changed:
            return self._running.pop(id(options), None) is None

    def _watch(self) -> None:
        with self._changed:
            while True:
                if self._running:
                    key, (late_at, options) = next(iter(self._running.items()))
                    left = late_at - time.monotonic()
                    if left > 0:
                        self._changed.wait(left)
                    else:
                        del self._running[key]
                        options.terminate = True
                    continue
                self._idle = True
                self._changed.wait(_LINGERS)
                self._idle = False
                if not self._running:
                    self._watched = False
                    return

    def __repr__(self) -> str:
        return f"RunCap(seconds={self.seconds}, running={len(self._running)})"


def _run_options() -> Any:
    import onnxruntime

    return onnxruntime.RunOptions()
