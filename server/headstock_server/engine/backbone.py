"""One loaded backbone: its session, its preprocessing, its head banks."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from headstock.backbone.isolation import certify
from headstock.backbone.on_device import held_against_cpu
from headstock.backbone.samples import Samples, samples_for
from headstock.digest import Digest, short
from headstock.errors import Unsupported
from headstock.graph import Graph
from headstock.preprocess import Preprocessor, Row
from headstock.preprocess.padded import Collate, padded
from headstock.records import BackboneIdentity, Certificate
from headstock.servable import ServableBackbone
from headstock_server.engine import profile
from headstock_server.engine.buckets import rounded
from headstock_server.engine.certificates import Kept, serving_certificate
from headstock_server.engine.device import device_options, longest, most_rows
from headstock_server.engine.head_bank import HeadBank
from headstock_server.engine.options import EngineOptions
from headstock_server.engine.replays import Replays
from headstock_server.engine.residency import ResidentKey
from headstock_server.scheduler.contract import Array, Floats, LaneKey
from headstock_server.scheduler.policy import Budget


class LoadedBackbone:
    """A session with everything that its rows share. It stays loaded while a model of it is referred to."""

    def __init__(
        self,
        servable: ServableBackbone,
        options: EngineOptions,
        *,
        graph: Path | None = None,
        preprocessor: Preprocessor | None = None,
    ) -> None:
        """Open the session, profile it, and measure its isolation unless the catalogue has that for this provider.

        Of `graph` instead of the backbone's own if given. Raises what `Graph` and the preprocessor raise.
        """
        self.servable = servable
        self.preprocessor: Preprocessor = preprocessor or servable.open_preprocessor()
        self._path = graph or servable.graph
        # Another graph than the backbone's own has inputs that nobody declares.
        declared = servable.identity.inputs if graph is None else ()
        asked = device_options(options, declared, servable.spec, self._path.name)
        self._graph = Graph(
            self._path,
            device=options.device,
            threads=options.threads,
            options=asked,
            run_seconds=options.run_seconds,
        )
        self._collate = self._collating(options)
        self.lane = LaneKey(servable.digest, servable.identity.precision, options.device)
        self._taps = {tap.name: tap for tap in servable.identity.taps}
        self._banks: dict[tuple[str, int], HeadBank] = {}
        self._lock = threading.Lock()
        self._replays = Replays(self._graph)
        refused = (known := self._known()) is not None and not known.shared
        self.profile = self._profiled(options, measurable=not refused)
        self.certificate: Certificate = self._certified(options)
        """That of this session, on its execution provider."""
        self.budget = self._budget(options)
        if options.cuda_graphs and graph is None:
            self._capture()

    @property
    def digest(self) -> Digest:
        """The backbone's digest."""
        return self.servable.digest

    @property
    def resident(self) -> ResidentKey:
        """Names its session among what takes memory."""
        return ResidentKey(self.digest, self.lane.adapters)

    @property
    def identity(self) -> BackboneIdentity:
        """What the digest covers."""
        return self.servable.identity

    @property
    def shared(self) -> bool:
        """False if its rows must run alone: they move in company, or nobody could measure whether they do."""
        return self.certificate.shared

    @property
    def token_ns(self) -> float:
        """Nanoseconds per token at the profiled pass size."""
        return self.profile.token_ns

    @property
    def measured(self) -> Sequence[tuple[int, int, float]]:
        """The profile's passes: rows, tokens of the longest row, nanoseconds."""
        return [(point.rows, point.tokens // point.rows, point.seconds * 1e9) for point in self.profile.points]

    def bank(self, tap: str, width: int, out: int) -> HeadBank:
        """The head bank of one tap and output width, made when first asked for."""
        with self._lock:
            bank = self._banks.get((tap, out))
            if bank is None:
                bank = self._banks[tap, out] = HeadBank(tap, width, out)
            return bank

    def banks(self) -> list[HeadBank]:
        """All head banks."""
        with self._lock:
            return list(self._banks.values())

    def bank_bytes(self) -> int:
        """Bytes of what stands beside the session: the head banks."""
        return sum(bank.nbytes for bank in self.banks())

    def collate(self, rows: Sequence[Row]) -> Mapping[str, Array]:
        """Graph inputs of one pass."""
        return self._collate(rows)

    def infer(self, feeds: Mapping[str, Array], taps: Sequence[str]) -> Mapping[str, Floats]:
        """The asked taps and no others."""
        return dict(zip(taps, self._replays.run(feeds, taps), strict=True))

    def positions(self, tap: str, rows: Sequence[Row]) -> Sequence[int] | None:
        """How many positions of that tap are each row's own; None where all rows have the same."""
        found = self._taps[tap]
        return [found.positions(row.steps) for row in rows] if found.ragged else None

    def _capture(self) -> None:
        row = profile.sample(self.preprocessor)
        if row is not None:
            self._replays.capture(
                self.collate, row, list(self._taps), self.budget, fixed_length=not _varies(self.identity)
            )

    def _collating(self, options: EngineOptions) -> Collate:
        """How passes are made: as the preprocessor does it, or longer."""
        if not (options.rounds_lengths and self._pads):
            return self.preprocessor.collate
        most = longest(self.servable.spec)
        return padded(self.preprocessor.collate, lambda steps: rounded(steps, most))

    @property
    def _pads(self) -> bool:
        """True if passes may be longer than their longest row."""
        return self.identity.padding != "equal-length" and _varies(self.identity)

    def _profiled(self, options: EngineOptions, *, measurable: bool) -> profile.Profile:
        if options.token_budget is not None or not measurable:
            return profile.assumed(options.token_budget)
        taps = [self.identity.taps[-1].name]
        return profile.profile(
            lambda rows: self.infer(self.collate(rows), taps),
            self.preprocessor,
            options.device,
            options.profile_seconds,
            # One thread's own time: whatever else the machine does at the start decides nothing.
            time.thread_time if options.device == "cpu" and options.threads == 1 else time.perf_counter,
        )

    def _known(self) -> Certificate | None:
        """What the catalogue says of this graph on this provider."""
        return self.servable.certificate_on(self._graph.provider)

    def _certified(self, options: EngineOptions) -> Certificate:
        key: dict[str, object] = {"graph": self._path.name, "rounded": options.rounds_lengths}
        rows = min(self.profile.rows, most_rows(options))
        return serving_certificate(
            self._known(), self._graph.provider, rows, Kept(options.certificates), key, self._measured
        )

    def _measured(self, rows: int) -> Certificate:
        try:
            samples = samples_for(self.preprocessor)
        except Unsupported:
            # Nothing to measure with, so nothing is known.
            return Certificate(self.digest, 0.0, 0.0, False, self._graph.provider, {"rows": 1})
        collate = self._trial_collate(samples)
        found = certify(self._graph, self.identity, self.preprocessor, samples, rows=rows, collate=collate)
        if self._graph.provider == "CPUExecutionProvider":
            return found
        return held_against_cpu(found, Graph(self._path), self._graph, self.identity, samples, collate)

    def _trial_collate(self, samples: Samples) -> Collate:
        """How the samples' batches are made when the session is measured."""
        return self._collate

    def _budget(self, options: EngineOptions) -> Budget:
        if not self.shared:
            return Budget(self.profile.tokens, rows=1)
        waste = 0.0 if self.identity.padding == "equal-length" else options.padding_waste
        return Budget(self.profile.tokens, min(most_rows(options), self.certificate.rows), waste)

    def __repr__(self) -> str:
        lane = "shared" if self.shared else "private"
        return f"LoadedBackbone({self.identity.family} {short(self.digest)}, {lane}, budget={self.budget.tokens})"


def _varies(identity: BackboneIdentity) -> bool:
    """True if rows differ in length."""
    return any(-1 in spec.shape[1:] for spec in identity.inputs)
