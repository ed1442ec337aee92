"""A head that is an ONNX graph of its own: run once for all rows of a pass that belong to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from headstock.errors import FailedPrecondition, HeadstockError
from headstock.graph import Graph
from headstock_server.scheduler.contract import Floats, Slots

_SIZES = (2, 3, 5, 8, 16, 33, 64)


class GraphHead:
    """One head in a group of its own; its only slot is 0. It runs on the CPU, as the heads of a bank do."""

    def __init__(self, tap: str, path: Path, *, width: int, threads: int, run_seconds: float | None = None) -> None:
        """Open the graph, and measure how many vectors [n, width] may share a run of it.

        Raises `FailedPrecondition` unless it has one input and one output.
        """
        self.tap = tap
        self._graph = Graph(path, threads=threads, run_seconds=run_seconds)
        if len(self._graph.inputs) != 1 or len(self._graph.outputs) != 1:
            raise FailedPrecondition(
                f"the head's graph has inputs {list(self._graph.inputs)} and outputs {list(self._graph.outputs)}; "
                "expected one of each: the tap's features, and the raw outputs"
            )

        self.rows = self._proven(width)
        """Vectors that may share a run: as many as were measured to keep a row's bits; 1 if they move."""

    def run(self, features: Floats, slots: Slots) -> Floats:
        """Outputs [n, ...] of features [n, ..., width]."""
        # Maps row by row: what is computed of one is large, and nobody measured whether it moves in company.
        rows = self.rows if features.ndim == 2 else 1
        if len(features) <= rows:
            return self._run(features)
        return np.concatenate([self._run(features[i : i + rows]) for i in range(0, len(features), rows)])

    def run_alone(self, features: Floats, slot: int) -> Floats:
        """Outputs of one row [positions, width], without its batch axis."""
        outputs: Floats = self._run(features[None])[0]
        return outputs

    def _proven(self, width: int) -> int:
        """The largest size at which, and below which, every row of a batch has the bits that it has alone."""
        vectors = np.random.default_rng(0).normal(size=(_SIZES[-1], width)).astype(np.float32)
        try:
            alone = [self._run(vectors[i : i + 1])[0].tobytes() for i in range(len(vectors))]
            proven = 1
            for size in _SIZES:
                if [row.tobytes() for row in self._run(vectors[:size])] != alone[:size]:
                    break
                proven = size
        except HeadstockError:
            # It reads something else than vectors, or refuses such: row by row is always right.
            return 1
        return proven

    def _run(self, features: Floats) -> Floats:
        return self._graph.run({self._graph.inputs[0]: features}, self._graph.outputs)[0]

    def __repr__(self) -> str:
        return f"GraphHead({self.tap!r})"
