"""A backbone whose graph takes adapters: every adapter of one rank and set of layers shares its passes."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping, Sequence

import numpy as np

from headstock.adapter.graph import INDEX
from headstock.adapter.parameters import Pair
from headstock.adapter.proof import LEAST_STEPS, mixed_adapters
from headstock.backbone.samples import Samples
from headstock.digest import Digest
from headstock.errors import Corrupt
from headstock.preprocess.padded import Collate, padded
from headstock.records import Certificate
from headstock.servable import ServableAdapter, ServableBackbone
from headstock_server.engine.adapter_bank import AdapterBank
from headstock_server.engine.backbone import LoadedBackbone
from headstock_server.engine.options import EngineOptions
from headstock_server.scheduler.contract import Array, Floats, Slots


class LoadedAdapter:
    """An adapter in its bank; the last reference to go gives its slot back."""

    __slots__ = ("__weakref__", "slot")

    def __init__(self, slot: int) -> None:
        self.slot = slot

    def __repr__(self) -> str:
        return f"LoadedAdapter(slot={self.slot})"


class AdaptedBackbone(LoadedBackbone):
    """A session of the LoRA graph with its adapters. It has a lane of its own beside the plain backbone's.

    Rows without an adapter stay on the plain graph: there they cost nothing more, and keep the same bits always.
    """

    def __init__(
        self,
        servable: ServableBackbone,
        options: EngineOptions,
        adapter: ServableAdapter,
        parameters: Mapping[str, Pair],
    ) -> None:
        """Open the graph that `adapter` brings; `parameters` are its numbers, whose shapes the bank takes."""
        self.adapters = AdapterBank({name: (len(a), a.shape[1], b.shape[1]) for name, (a, b) in parameters.items()})
        self._holding = threading.Lock()
        self._held: weakref.WeakValueDictionary[Digest, LoadedAdapter] = weakref.WeakValueDictionary()
        # The certificate of the plain graph says nothing of this one.
        self._own_certificate = adapter.certificate
        self._example = parameters
        super().__init__(servable, options, graph=adapter.graph)
        self.lane = self.lane._replace(adapters=adapter.graph_digest)
        expected = {*(i.name for i in servable.identity.inputs), INDEX, *self.adapters.inputs}
        if set(self._graph.inputs) != expected:
            raise Corrupt(
                f"the adapters' graph has inputs {sorted(set(self._graph.inputs) ^ expected)[:3]} too many or too few",
                fix="headstock verify, then fine-tune the adapter again",
            )

    def hold(self, digest: Digest, parameters: Mapping[str, Pair]) -> LoadedAdapter:
        """The adapter of that digest, put into the bank unless it is there; models with it share it."""
        with self._holding:
            held = self._held.get(digest)
            if held is None:
                held = LoadedAdapter(self.adapters.add(parameters))
                weakref.finalize(held, self.adapters.release, held.slot).atexit = False
                self._held[digest] = held
            return held

    def bank_bytes(self) -> int:
        """The adapters stand beside the session too."""
        return super().bank_bytes() + self.adapters.nbytes

    def adapt(self, feeds: Mapping[str, Array], slots: Slots) -> Mapping[str, Array]:
        """`feeds` with row i's adapter from `slots[i]`; slot 0 is none."""
        return {**feeds, **self.adapters.feeds(slots)}

    def infer(self, feeds: Mapping[str, Array], taps: Sequence[str]) -> Mapping[str, Floats]:
        """The asked taps; feeds that name no adapters run without any."""
        if INDEX not in feeds:
            feeds = self.adapt(feeds, np.zeros(len(next(iter(feeds.values()))), np.intp))
        return super().infer(feeds, taps)

    def _collating(self, options: EngineOptions) -> Collate:
        collate = super()._collating(options)
        return padded(collate, lambda steps: max(steps, LEAST_STEPS)) if self._pads else collate

    def _known(self) -> Certificate | None:
        own = self._own_certificate
        return own if own is not None and own.provider == self._graph.provider else None

    def _trial_collate(self, samples: Samples) -> Collate:
        return mixed_adapters(self._collate, samples, self._example)

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, {self.adapters!r})"
