"""A backbone's graph under one adapter, run as the plain graph is: for features, and for answers in process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstock.adapter.graph import INDEX
from headstock.adapter.parameters import load_parameters
from headstock.graph import Device, Graph

if TYPE_CHECKING:
    from headstock.servable import ServableAdapter


class AdaptedGraph(Graph):
    """The adapters' graph with this adapter for every row; slot 0 stays empty, as in a server."""

    def __init__(self, adapter: ServableAdapter, *, device: Device = "cpu", threads: int = 1) -> None:
        """Open the graph that the adapter brings; raises what `Graph` and `load_parameters` raise."""
        super().__init__(adapter.graph, device=device, threads=threads)
        pairs = load_parameters(adapter.parameters, adapter.identity.targets, adapter.identity.rank)
        self._stacked = {
            f"{name}.{part}": np.stack([np.zeros_like(array), array])
            for name, pair in pairs.items()
            for part, array in zip("AB", pair, strict=True)
        }

    def run(self, feeds: Mapping[str, npt.NDArray[Any]], outputs: Sequence[str]) -> list[npt.NDArray[np.float32]]:
        """The named outputs for the plain graph's `feeds`, every row under the adapter."""
        return super().run(self.feeds(feeds), outputs)

    def feeds(self, plain: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """All inputs of the adapters' graph, for the plain graph's."""
        rows = len(next(iter(plain.values())))
        return {**plain, **self._stacked, INDEX: np.ones(rows, np.int64)}
