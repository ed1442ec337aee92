"""A stem with one of the upper parts that stand on it, run as the whole graph is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstock.graph import Device, Graph

Arrays = Mapping[str, npt.NDArray[Any]]


class ComposedGraph(Graph):
    """Both parts in turn; its inputs are the stem's, its outputs those of the upper part."""

    def __init__(
        self, stem: Path, upper: Path, *, device: Device = "cpu", threads: int = 1, apart: bool = False
    ) -> None:
        """Open both. With `apart` the upper part runs for every other row by itself, as beside other upper parts."""
        super().__init__(stem, device=device, threads=threads)
        self._upper = Graph(upper, device=device, threads=threads)
        self._values, self.outputs = self.outputs, self._upper.outputs
        self._apart = apart

    def run(self, feeds: Arrays, outputs: Sequence[str]) -> list[npt.NDArray[np.float32]]:
        """The named outputs for the whole graph's `feeds`."""
        between = {**feeds, **dict(zip(self._values, super().run(feeds, self._values), strict=True))}
        rows = len(next(iter(feeds.values())))
        if not self._apart or rows < 2:
            return upper_outputs(self._upper, between, outputs)
        halves = [np.arange(start, rows, 2) for start in (0, 1)]
        found = [upper_outputs(self._upper, {n: a[half] for n, a in between.items()}, outputs) for half in halves]
        order = np.argsort(np.concatenate(halves))
        return [np.concatenate(pair)[order] for pair in zip(*found, strict=True)]


def upper_outputs(upper: Graph, feeds: Arrays, outputs: Sequence[str]) -> list[npt.NDArray[np.float32]]:
    """The named outputs of an upper part, which reads some of `feeds`."""
    return upper.run({name: feeds[name] for name in upper.inputs}, outputs)
