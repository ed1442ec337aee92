"""Passes of fixed shapes at fixed addresses on a device, each replayed from a CUDA graph where one was captured."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headstock.errors import FailedPrecondition

Array = npt.NDArray[Any]
ShapeKey = tuple[Any, ...]

# The first run after start-up allocates, the second is captured, the third replays.
_RUNS = 3
_NEAR = 1e-3


@dataclass(frozen=True, slots=True)
class _Fixed:
    """One shape's memory on the device, and the run that uses it."""

    inputs: Mapping[str, Any]
    outputs: Sequence[Any]
    binding: Any
    run_options: Any


class CapturedRuns:
    """Passes of one session whose shapes were captured. Thread-safe: one pass at a time, as graphs demand."""

    def __init__(self, session: Any, device_type: str) -> None:
        """`device_type` is where inputs and outputs live, `cuda` or `cpu`."""
        self._session = session
        self._device = device_type
        self._fixed: dict[ShapeKey, _Fixed] = {}
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Shapes that were captured."""
        return len(self._fixed)

    def capture(self, feeds: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
        """Capture the pass of these shapes, whose answers are `expected` by output.

        Raises `FailedPrecondition` if the replay answers something else, and what the runtime raises.
        """
        import onnxruntime

        binding = self._session.io_binding()
        inputs = {n: self._value(value) for n, value in feeds.items()}
        outputs = [self._value(np.zeros_like(value)) for value in expected.values()]
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in zip(expected, outputs, strict=True):
            binding.bind_ortvalue_output(name, value)
        run_options = onnxruntime.RunOptions()
        run_options.add_run_config_entry("gpu_graph_id", str(next(self._ids)))
        fixed = _Fixed(inputs, outputs, binding, run_options)
        with self._lock:
            for _ in range(_RUNS):
                found = self._run(fixed, feeds)
        for (name, reference), answer in zip(expected.items(), found, strict=True):
            error = float(np.abs(answer - reference).max(initial=0.0))
            if not error <= _NEAR * max(1.0, float(np.abs(reference).max(initial=0.0))):
                raise FailedPrecondition(f"the captured pass differs from the plain one by {error:.3g} in {name!r}")
        self._fixed[_key(feeds, tuple(expected))] = fixed

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array] | None:
        """The named outputs; None if no pass of these shapes and outputs was captured."""
        fixed = self._fixed.get(_key(feeds, tuple(outputs)))
        if fixed is None:
            return None
        with self._lock:
            return self._run(fixed, feeds)

    def _run(self, fixed: _Fixed, feeds: Mapping[str, Array]) -> list[Array]:
        # Caller holds the lock: the memory is shared by all passes of this shape.
        for name, value in fixed.inputs.items():
            value.update_inplace(np.ascontiguousarray(feeds[name]))
        self._session.run_with_iobinding(fixed.binding, fixed.run_options)
        # A copy on every device: on a CPU `numpy` would show the memory that the next pass writes.
        return [np.array(value.numpy()) for value in fixed.outputs]

    def _value(self, array: Array) -> Any:
        import onnxruntime

        return onnxruntime.OrtValue.ortvalue_from_numpy(np.array(array), self._device, 0)


def _key(feeds: Mapping[str, Array], outputs: tuple[str, ...]) -> ShapeKey:
    return (outputs, *sorted((name, value.shape) for name, value in feeds.items()))
