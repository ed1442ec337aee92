"""Runs a session through IO binding: only the asked outputs, results written where they are read from."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headstock.pinned import PageLock, Staging

Array = npt.NDArray[Any]

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64}
_MOST_SHAPES = 4096


class BoundRuns:
    """Passes of one session. Thread-safe: every thread has a binding and buffers of its own.

    The shape of an output follows from those of the inputs, so that after one pass its memory can be bound before
    the next: the runtime writes, and on a GPU copies, straight into it.
    """

    def __init__(self, session: Any, *, staged: bool, lock: PageLock | None = None) -> None:
        """`staged` copies inputs into reused buffers first, locked by `lock` if given."""
        self._session = session
        self._staged = staged
        self._lock = lock
        self._types = {output.name: _TYPES.get(output.type) for output in session.get_outputs()}
        self._shapes: dict[tuple[Any, ...], tuple[int, ...]] = {}
        self._threads = threading.local()

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str], options: Any = None) -> list[Array]:
        """The named outputs, in arrays of their own; `options` are the runtime's for this run."""
        shapes = tuple((name, value.shape) for name, value in feeds.items())
        known = [self._shapes.get((name, shapes)) for name in outputs]
        try:
            return self._run(feeds, outputs, shapes, known, options)
        except Exception:
            if not any(known):
                raise
            # An output whose shape depends on more than shapes: then the runtime makes its memory.
            return self._run(feeds, outputs, shapes, [None] * len(outputs), options)

    def _run(
        self,
        feeds: Mapping[str, Array],
        outputs: Sequence[str],
        shapes: tuple[Any, ...],
        known: Sequence[tuple[int, ...] | None],
        options: Any,
    ) -> list[Array]:
        binding, staging = self._mine()
        binding.clear_binding_inputs()
        binding.clear_binding_outputs()
        # Bound by address: what is bound must live until the pass is over.
        held = [self._bind_input(binding, staging, name, value) for name, value in feeds.items()]
        places = [self._bind_output(binding, staging, n, s) for n, s in zip(outputs, known, strict=True)]
        self._session.run_with_iobinding(binding, options)
        del held
        if all(place is not None for place in places):
            # Staging is written again by the next pass.
            return [place.copy() if self._staged else place for place in places if place is not None]
        found: list[Array] = binding.copy_outputs_to_cpu()
        if len(self._shapes) < _MOST_SHAPES:
            self._shapes.update(
                ((n, shapes), f.shape)
                for n, f in zip(outputs, found, strict=True)
                if self._types[n] == f.dtype and f.size
            )
        return found

    def _mine(self) -> tuple[Any, Staging]:
        mine: tuple[Any, Staging] | None = getattr(self._threads, "mine", None)
        if mine is None:
            mine = self._threads.mine = (self._session.io_binding(), Staging(self._lock))
        return mine

    def _bind_input(self, binding: Any, staging: Staging, name: str, value: Array) -> Array:
        if self._staged:
            staged = staging.view(f"in.{name}", value.shape, value.dtype)
            np.copyto(staged, value)
        else:
            staged = np.ascontiguousarray(value)
        binding.bind_input(name, "cpu", 0, staged.dtype.type, staged.shape, staged.ctypes.data)
        return staged

    def _bind_output(self, binding: Any, staging: Staging, name: str, shape: tuple[int, ...] | None) -> Array | None:
        kind = self._types[name]
        if shape is None or kind is None:
            binding.bind_output(name, "cpu")
            return None
        place: Array = staging.view(f"out.{name}", shape, kind) if self._staged else np.empty(shape, kind)
        binding.bind_output(name, "cpu", 0, kind, place.shape, place.ctypes.data)
        return place
