"""One loaded backbone: its session, its preprocessing, its head banks."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from headstock.digest import Digest, short
from headstock.graph import Graph
from headstock.preprocess import Preprocessor, Row
from headstock.records import BackboneIdentity
from headstock.servable import ServableBackbone
from headstock_server.engine import profile
from headstock_server.engine.head_bank import HeadBank
from headstock_server.engine.options import EngineOptions
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
        """Open the session and profile it, of `graph` instead of the backbone's own if given.

        Raises what `Graph` and the preprocessor raise.
        """
        self.servable = servable
        self.preprocessor: Preprocessor = preprocessor or servable.open_preprocessor()
        self._graph = Graph(
            graph or servable.graph, device=options.device, threads=options.threads, run_seconds=options.run_seconds
        )
        self.lane = LaneKey(servable.digest, servable.identity.precision, options.device)
        certificate = servable.certificate
        self.shared = certificate is not None and certificate.shared and certificate.provider == self._graph.provider
        """False if its rows must run alone: no isolation certificate, or not for this execution provider."""
        self.profile = self._profiled(options)
        self.budget = self._budget(options)
        self._taps = {tap.name: tap for tap in servable.identity.taps}
        self._banks: dict[tuple[str, int], HeadBank] = {}
        self._lock = threading.Lock()

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
        return self.preprocessor.collate(rows)

    def infer(self, feeds: Mapping[str, Array], taps: Sequence[str]) -> Mapping[str, Floats]:
        """The asked taps and no others."""
        return dict(zip(taps, self._graph.run(feeds, taps), strict=True))

    def positions(self, tap: str, rows: Sequence[Row]) -> Sequence[int] | None:
        """How many positions of that tap are each row's own; None where all rows have the same."""
        found = self._taps[tap]
        return [found.positions(row.steps) for row in rows] if found.ragged else None

    def _profiled(self, options: EngineOptions) -> profile.Profile:
        if options.token_budget is not None or not self.shared:
            return profile.assumed(options.token_budget)
        taps = [self.identity.taps[-1].name]
        return profile.profile(
            lambda rows: self.infer(self.collate(rows), taps),
            self.preprocessor,
            options.device,
            options.profile_seconds,
        )

    def _budget(self, options: EngineOptions) -> Budget:
        if not self.shared:
            return Budget(self.profile.tokens, rows=1)
        waste = 0.0 if self.identity.padding == "equal-length" else options.padding_waste
        return Budget(self.profile.tokens, options.max_rows, waste)

    def __repr__(self) -> str:
        lane = "shared" if self.shared else "private"
        return f"LoadedBackbone({self.identity.family} {short(self.digest)}, {lane}, budget={self.budget.tokens})"
