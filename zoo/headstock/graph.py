"""The one place that opens an ONNX Runtime session, so that a missing provider is an error everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from headstock.errors import Corrupt, FailedPrecondition, HeadstockError, RunTimeout
from headstock.run_cap import run_cap

Device = Literal["cpu", "cuda"]

PROVIDERS = {"cpu": ["CPUExecutionProvider"], "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"]}
"""What ONNX Runtime is asked for, the one that counts in front."""


class Graph:
    """An exported graph ready to run. Thread-safe: `run` may be called from several threads at once."""

    def __init__(
        self, path: Path, *, device: Device = "cpu", threads: int = 1, run_seconds: float | None = None
    ) -> None:
        """Open `path` on `device` with `threads` intra-op threads; a run is ended after `run_seconds`, None for never.

        Raises `Corrupt` if ONNX Runtime cannot read the file and `FailedPrecondition` if the device is missing:
        ONNX Runtime itself would fall back to the CPU without an error.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise FailedPrecondition(
                "onnxruntime is not installed, and running a backbone needs it",
                fix="pip install 'headstock[serve]' (CPU) or 'headstock[gpu]'",
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=PROVIDERS[device])
        except Exception as error:
            raise Corrupt(
                f"ONNX Runtime cannot load the graph {path.name!r}: {type(error).__name__}",
                fix="headstock verify, then pull the backbone again",
            ) from error
        wanted, got = PROVIDERS[device][0], self._session.get_providers()
        if wanted not in got:
            raise FailedPrecondition(
                f"device {device!r} was asked for but ONNX Runtime offers only {got}",
                fix="install 'headstock[gpu]' without onnxruntime beside it, or use --device cpu",
            )
        self._cap = None if run_seconds is None else run_cap(run_seconds)
        self.provider: str = wanted
        self.inputs: tuple[str, ...] = tuple(i.name for i in self._session.get_inputs())
        self.outputs: tuple[str, ...] = tuple(o.name for o in self._session.get_outputs())

    def run(self, feeds: Mapping[str, npt.NDArray[Any]], outputs: Sequence[str]) -> list[npt.NDArray[np.float32]]:
        """The named outputs for `feeds`, in the order asked; raises `RunTimeout` if that took too long."""
        cap = self._cap
        options = None if cap is None else cap.start()
        try:
            results: list[npt.NDArray[np.float32]] = self._session.run(list(outputs), dict(feeds), options)
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

    def __repr__(self) -> str:
        return f"Graph(inputs={self.inputs}, outputs={self.outputs}, provider={self.provider!r})"
