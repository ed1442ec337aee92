"""A head that is an ONNX graph of its own: run once for all rows of a pass that belong to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from headstock.errors import FailedPrecondition
from headstock.graph import Device, Graph
from headstock_server.scheduler.contract import Floats, Slots


class GraphHead:
    """One head in a group of its own; its only slot is 0."""

    def __init__(self, tap: str, path: Path, *, device: Device, threads: int, run_seconds: float | None = None) -> None:
        """Open the graph; raises `FailedPrecondition` unless it has one input and one output."""
        self.tap = tap
        self._graph = Graph(path, device=device, threads=threads, run_seconds=run_seconds)
        if len(self._graph.inputs) != 1 or len(self._graph.outputs) != 1:
            raise FailedPrecondition(
                f"the head's graph has inputs {list(self._graph.inputs)} and outputs {list(self._graph.outputs)}; "
                "expected one of each: the tap's features, and the raw outputs"
            )

    def run(self, features: Floats, slots: Slots) -> Floats:
        """Outputs [n, ...] of features [n, ..., width]."""
        if features.ndim == 2:
            return self._run(features)
        # Maps row by row: what is computed of one is large, and its bits must not depend on its neighbours.
        return np.concatenate([self._run(features[i : i + 1]) for i in range(len(features))])

    def run_alone(self, features: Floats, slot: int) -> Floats:
        """Outputs of one row [positions, width], without its batch axis."""
        outputs: Floats = self._run(features[None])[0]
        return outputs

    def _run(self, features: Floats) -> Floats:
        return self._graph.run({self._graph.inputs[0]: features}, self._graph.outputs)[0]

    def __repr__(self) -> str:
        return f"GraphHead({self.tap!r})"
