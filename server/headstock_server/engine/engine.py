"""Loads models: one session per backbone and device however many models stand on it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from headstock import postprocess
from headstock.adapter.parameters import load_parameters
from headstock.digest import Digest
from headstock.errors import Corrupt, DigestMismatch, Unsupported
from headstock.preprocess.reading import text_reader
from headstock.providers import PROVIDER
from headstock.records import Tap
from headstock.servable import ServableBackbone, ServableModel, check_adapter_of_head, load_linear
from headstock_server.engine.adapted_backbone import AdaptedBackbone, LoadedAdapter
from headstock_server.engine.backbone import LoadedBackbone
from headstock_server.engine.budget import MemoryBudget, session_bytes
from headstock_server.engine.graph_head import GraphHead
from headstock_server.engine.lengths import with_lengths
from headstock_server.engine.model import LoadedModel
from headstock_server.engine.options import EngineOptions
from headstock_server.engine.profile import Profile
from headstock_server.engine.residency import ResidentKey, Usage
from headstock_server.engine.stem import LoadedStem, StemmedBackbone


class Engine:
    """Keeps track of what is loaded. Loading takes no lock that a pass takes, so it never stops inference."""

    def __init__(self, options: EngineOptions | None = None, memory: MemoryBudget | None = None) -> None:
        """Load by `options`, within `memory`; without one, everything stays."""
        self.options = options or EngineOptions()
        self.memory = memory or MemoryBudget()
        self._lock = threading.Lock()
        # Weak: whoever loads holds the lock of what it loads, and nobody else needs it.
        self._loading: weakref.WeakValueDictionary[Digest, threading.Lock] = weakref.WeakValueDictionary()
        # The engine only looks on: models own their backbone, and the last of them takes the session with it.
        self._backbones: weakref.WeakValueDictionary[Digest, LoadedBackbone] = weakref.WeakValueDictionary()
        self._stems: weakref.WeakValueDictionary[Digest, LoadedStem] = weakref.WeakValueDictionary()
        self._adapted: weakref.WeakValueDictionary[tuple[Digest, Digest], AdaptedBackbone] = (
            weakref.WeakValueDictionary()
        )
        self._graph_heads: weakref.WeakKeyDictionary[GraphHead, tuple[ResidentKey, int]] = weakref.WeakKeyDictionary()

    def load(self, servable: ServableModel) -> LoadedModel:
        """Load one model, and its backbone if no other model has; blocks, so call it from a loader thread.

        Within a budget, keep `memory.room` for it until the model is known by name.

        Raises `DigestMismatch` for a head of another backbone, `Corrupt` for parameters that are not what the head's
        identity says, and what opening a session raises.
        """
        head = servable.head
        if head.backbone != servable.backbone.digest:
            raise DigestMismatch(
                f"the head of {servable.version} was trained on backbone {head.backbone} but would run on "
                f"{servable.backbone.digest}; a head runs only on the backbone it was trained on",
                fix="fine-tune the head again on the backbone you want",
            )
        tap = servable.backbone.identity.tap(head.tap)
        if tap.width != head.width:
            raise Corrupt(
                f"the head of {servable.version} reads {head.width} features; tap {tap.name!r} has {tap.width}"
            )
        _check_fits(servable, tap)
        check_adapter_of_head(
            head, None if servable.adapter is None else servable.adapter.digest, str(servable.version)
        )
        servable = self.suited(servable)
        # Whoever keeps room for the whole model has reserved its part.
        with self.memory.rooms(servable, part=False) as usage:
            backbone, adapter = self._placed(servable)
            return self._headed(servable, backbone, adapter, usage)

    def _headed(
        self, servable: ServableModel, backbone: LoadedBackbone, adapter: LoadedAdapter | None, usage: Usage
    ) -> LoadedModel:
        """The model with its head in place."""
        head = servable.head
        if postprocess.reads(head.postprocess) != "any":
            text_reader(backbone.preprocessor)
        if head.form == "graph":
            group = GraphHead(
                head.tap,
                servable.parameters,
                width=head.width,
                threads=self.options.threads,
                run_seconds=self.options.run_seconds,
            )
            self._graph_heads[group] = (backbone.resident, session_bytes(servable.parameters))
            return LoadedModel(servable, backbone, group, 0, adapter, usage)
        weight, bias = load_linear(servable.parameters)
        if weight.shape != (head.width, head.out) or not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise Corrupt(
                f"the head of {servable.version} has weights of shape {list(weight.shape)}; "
                f"expected finite weights of shape {[head.width, head.out]}",
                fix="headstock verify, then fine-tune it again",
            )
        bank = backbone.bank(head.tap, head.width, head.out)
        slot = bank.add(weight, bias)
        try:
            model = LoadedModel(servable, backbone, bank, slot, adapter, usage)
        except BaseException:
            bank.release(slot)
            raise
        weakref.finalize(model, bank.release, slot).atexit = False
        return model

    def suited(self, servable: ServableModel) -> ServableModel:
        """The model as this engine runs it: in parts only where the parts were proven on the same provider."""
        stem = servable.backbone.stem
        if stem is None or stem.provider == PROVIDER[self.options.device]:
            return servable
        return replace(servable, backbone=replace(servable.backbone, stem=None))

    def servable(self, digest: Digest) -> ServableBackbone | None:
        """The checked files of a backbone that is loaded now, so that they need not be hashed again; else None."""
        return next((b.servable for b in self.backbones() if b.digest == digest), None)

    def backbones(self) -> list[LoadedBackbone]:
        """Backbones that are loaded now: the plain ones, and one more for each graph that takes adapters."""
        return [*self._backbones.values(), *self._adapted.values()]

    def _placed(self, servable: ServableModel) -> tuple[LoadedBackbone, LoadedAdapter | None]:
        """What the model's rows pass through, and its adapter there."""
        adapter = servable.adapter
        if adapter is None:
            return self._backbone(servable.backbone), None
        parameters = load_parameters(adapter.parameters, adapter.identity.targets, adapter.identity.rank)
        key = (servable.backbone.digest, adapter.graph_digest)
        with self._one_at_a_time(adapter.graph_digest):
            backbone = self._adapted.get(key)
            if backbone is None:
                backbone = AdaptedBackbone(servable.backbone, self.options, adapter, parameters)
                self._adapted[key] = backbone
                self._opened(backbone)
        return backbone, backbone.hold(adapter.digest, parameters)

    def _backbone(self, servable: ServableBackbone) -> LoadedBackbone:
        with self._one_at_a_time(servable.digest):
            backbone = self._backbones.get(servable.digest)
            if backbone is None:
                backbone = self._backbones[servable.digest] = self._open(servable)
                self._opened(backbone)
            return backbone

    def _open(self, servable: ServableBackbone) -> LoadedBackbone:
        own = servable.stem
        if own is None:
            return LoadedBackbone(servable, self.options)
        with self._one_at_a_time(own.digest):
            stem = self._stems.get(own.digest)
            if stem is None:
                stem = self._stems[own.digest] = LoadedStem(servable, own, self.options)
                self.memory.watch(ResidentKey(own.digest, stem=own.digest), stem, lambda: 0)
            # Under the lock: the first to come measures for all.
            backbone = StemmedBackbone(servable, self.options, stem, own)
            backbone.profile = stem.profile = self._lengthened(backbone)
            return backbone

    @contextmanager
    def _one_at_a_time(self, digest: Digest) -> Iterator[None]:
        """Two models that arrive together open one session; other backbones load meanwhile."""
        with self._lock:
            mine = self._loading.setdefault(digest, threading.Lock())
        with mine:
            yield

    def _lengthened(self, backbone: LoadedBackbone) -> Profile:
        """The profile of a new session, and what long rows take on it."""
        taps = [backbone.identity.taps[-1].name]
        return with_lengths(
            backbone.profile,
            lambda rows: backbone.infer(backbone.collate(rows), taps),
            backbone.preprocessor,
            self.options.profile_seconds,
        )

    def _opened(self, backbone: LoadedBackbone) -> None:
        """Finish the profile of a new session, and count its memory from now on."""
        backbone.profile = self._lengthened(backbone)
        key, session = backbone.resident, weakref.ref(backbone)

        def beside() -> int:
            alive = session()
            banks = 0 if alive is None else alive.bank_bytes()
            return banks + sum(size for owner, size in list(self._graph_heads.values()) if owner == key)

        self.memory.watch(key, backbone, beside)

    def __repr__(self) -> str:
        return f"Engine(device={self.options.device!r}, backbones={self.backbones()})"


def _check_fits(servable: ServableModel, tap: Tap) -> None:
    """Raise `Unsupported` for a head that cannot answer from this tap what its postprocessing makes of it."""
    head = servable.head
    # A graph may make one vector of many; a linear map answers once for every vector that it gets.
    made_by_linear = "per position" if tap.ragged else "per row" if len(tap.shape) == 2 else "per place"
    wanted = "per position" if postprocess.per_position(head.postprocess) else "per row"
    if head.form == "linear" and made_by_linear != wanted:
        raise Unsupported(
            f"the linear head of {servable.version} reads tap {tap.name!r} of shape {list(tap.shape)} and so answers "
            f"{made_by_linear}; its postprocessing {head.postprocess.get('kind')!r} takes one answer {wanted}"
        )
