"""The one place that opens an ONNX Runtime session, so that a missing provider is an error everywhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstock.binding import BoundRuns
from headstock.captured import CapturedRuns
from headstock.errors import Corrupt, FailedPrecondition, HeadstockError, RunTimeout
from headstock.pinned import cuda_page_lock
from headstock.providers import PROVIDER, Device, DeviceOptions, providers, require_provider
from headstock.run_cap import RunCap, run_cap
from headstock.shared_arena import join_shared_arena

__all__ = ["Device", "DeviceOptions", "Graph", "runtime_for"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

log = logging.getLogger("headstock.graph")

_DEFAULTS = DeviceOptions()


class Graph:
    """An exported graph ready to run. Thread-safe: `run` may be called from several threads at once."""

    def __init__(
        self,
        path: Path,
        *,
        device: Device = "cpu",
        threads: int = 1,
        options: DeviceOptions = _DEFAULTS,
        run_seconds: float | None = None,
    ) -> None:
        """Open `path` on `device` with `threads` intra-op threads; a run is ended after `run_seconds`, None for never.

        Raises `Corrupt` if ONNX Runtime cannot read the file and `FailedPrecondition` if the device is missing:
        ONNX Runtime itself would fall back to the CPU without an error.
        """
        try:
            session = _opened(path, device, threads, options)
        except Corrupt as error:
            if not options.cuda_graphs:
                raise
            log.warning("%s runs without CUDA graphs: %s", path.name, error.message)
            options = replace(options, cuda_graphs=False)
            session = _opened(path, device, threads, options)
        self._session = session
        self._cap = None if run_seconds is None else run_cap(run_seconds)
        self.provider: str = PROVIDER[device]
        self.inputs: tuple[str, ...] = tuple(i.name for i in session.get_inputs())
        self.outputs: tuple[str, ...] = tuple(o.name for o in session.get_outputs())
        self._captured = CapturedRuns(session, "cpu" if device == "cpu" else "cuda") if options.cuda_graphs else None
        self._bound = _bound(session, device, options)
        # Once a session may capture, a run that must not be says so.
        self._run_options = _uncaptured() if options.cuda_graphs else None

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Floats]:
        """The named outputs for `feeds`, in the order asked; raises `RunTimeout` if that took too long."""
        cap = self._cap
        options = self._run_options if cap is None else self._capped(cap)
        try:
            results = self._run(feeds, outputs, options)
        except Exception as error:
            if cap is not None and cap.end(options):
                raise RunTimeout(
                    f"a run of the graph took longer than {cap.seconds:g} s and was ended",
                    fix="headstock serve with a larger --run-timeout, or send shorter rows",
                ) from error
            raise HeadstockError(f"the graph failed on its inputs: {type(error).__name__}") from error
        if cap is not None:
            cap.end(options)
        return results

    def capture(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> bool:
        """Prepare passes of exactly these shapes to be replayed; False, with a warning, where that cannot be.

        Needs `DeviceOptions.cuda_graphs`. After one failure no more shapes are tried.
        """
        if self._captured is None:
            return False
        try:
            expected = dict(zip(outputs, self._uncaptured_run(feeds, outputs, self._run_options), strict=True))
            self._captured.capture(feeds, expected)
        except Exception as error:
            shapes = [value.shape for value in feeds.values()]
            detail = error.message if isinstance(error, HeadstockError) else type(error).__name__
            log.warning("CUDA graphs are off for this backbone: capture of %s failed (%s)", shapes[0], detail)
            self._captured = None
            return False
        return True

    def _capped(self, cap: RunCap) -> Any:
        options = cap.start()
        if self._run_options is not None:
            _exclude(options)
        return options

    def _run(self, feeds: Mapping[str, Array], outputs: Sequence[str], options: Any) -> list[Floats]:
        captured = self._captured
        if captured is not None and (found := captured.run(feeds, outputs)) is not None:
            return found
        return self._uncaptured_run(feeds, outputs, options)

    def _uncaptured_run(self, feeds: Mapping[str, Array], outputs: Sequence[str], options: Any) -> list[Floats]:
        if self._bound is not None:
            return self._bound.run(feeds, outputs, options)
        found: list[Floats] = self._session.run(list(outputs), dict(feeds), options)
        return found

    def __repr__(self) -> str:
        return f"Graph(inputs={self.inputs}, outputs={self.outputs}, provider={self.provider!r})"


def runtime_for(device: Device) -> Any:
    """ONNX Runtime; raises `FailedPrecondition` without it, or where it was built without the device's provider."""
    try:
        import onnxruntime
    except ImportError as error:
        raise FailedPrecondition(
            "onnxruntime is not installed, and running a backbone needs it",
            fix="pip install 'headstock[serve]' (CPU) or 'headstock[gpu]'",
        ) from error
    require_provider(device, onnxruntime.get_available_providers())
    return onnxruntime


def _opened(path: Path, device: Device, threads: int, options: DeviceOptions) -> Any:
    """The session; raises `Corrupt` if ONNX Runtime refuses the file or an option."""
    onnxruntime = runtime_for(device)
    if device != "cpu":
        _preload(onnxruntime)
    made = onnxruntime.SessionOptions()
    made.intra_op_num_threads = threads
    made.inter_op_num_threads = 1
    made.add_session_config_entry("session.intra_op.allow_spinning", "0")
    made.log_severity_level = 3
    if device != "cpu":
        # Weights outside the arena, which is for what passes take and give back.
        made.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
        # A plan of memory is made for one shape.
        made.enable_mem_pattern = options.cuda_graphs
    elif options.shared_arena and join_shared_arena():
        made.add_session_config_entry("session.use_env_allocators", "1")
    try:
        session = onnxruntime.InferenceSession(str(path), made, providers=providers(device, options))
    except Exception as error:
        raise Corrupt(
            f"ONNX Runtime cannot load the graph {path.name!r}: {type(error).__name__}",
            fix="headstock verify, then pull the backbone again",
        ) from error
    # A provider whose libraries do not load is dropped without an error.
    require_provider(device, session.get_providers())
    return session


def _preload(onnxruntime: Any) -> None:
    """Load CUDA and cuDNN from Python packages where ONNX Runtime knows how."""
    preload: Callable[[], None] | None = getattr(onnxruntime, "preload_dlls", None)
    if preload is not None:
        preload()


def _bound(session: Any, device: Device, options: DeviceOptions) -> BoundRuns | None:
    binding = options.bound(device)
    if binding == "off":
        return None
    lock = cuda_page_lock() if device != "cpu" and binding == "staged" else None
    return BoundRuns(session, staged=binding == "staged", lock=lock)


def _uncaptured() -> Any:
    import onnxruntime

    return _exclude(onnxruntime.RunOptions())


def _exclude(run_options: Any) -> Any:
    """From capture."""
    run_options.add_run_config_entry("gpu_graph_id", "-1")
    return run_options
