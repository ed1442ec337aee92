"""A stem that several backbones have in common, and what each of them has above it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from headstock.digest import Digest, short
from headstock.graph import Graph
from headstock.records import Certificate
from headstock.servable import ServableBackbone, ServableStem
from headstock.stem.composed import upper_outputs
from headstock_server.engine.backbone import LoadedBackbone
from headstock_server.engine.device import device_options
from headstock_server.engine.options import EngineOptions
from headstock_server.engine.profile import Profile
from headstock_server.engine.residency import ResidentKey
from headstock_server.scheduler.contract import Array, Floats, LaneKey


class LoadedStem:
    """One session for the lower part of all its backbones, whose rows share its lane and its passes.

    It stays loaded while a backbone on it is.
    """

    def __init__(self, servable: ServableBackbone, stem: ServableStem, options: EngineOptions) -> None:
        """Open the session; `servable` is the first backbone on it. Raises what `Graph` and the preprocessor raise."""
        self.digest: Digest = stem.digest
        self.preprocessor = servable.open_preprocessor()
        asked = replace(device_options(options, (), servable.spec, stem.graph.name), cuda_graphs=False)
        self._graph = Graph(
            stem.graph,
            device=options.device,
            threads=options.threads,
            options=asked,
            run_seconds=options.run_seconds,
        )
        self.lane = LaneKey(stem.digest, servable.identity.precision, options.device, depth=stem.depth)
        self.profile: Profile | None = None
        """How large its passes may be, with the upper part of the first backbone that was measured on it."""

    @property
    def values(self) -> tuple[str, ...]:
        """Names of what passes to the upper parts."""
        return self._graph.outputs

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """What passes to the upper parts."""
        return dict(zip(self.values, self._graph.run(feeds, self.values), strict=True))

    def __repr__(self) -> str:
        return f"LoadedStem({short(self.digest)}, up to {self.lane.depth!r})"


class StemmedBackbone(LoadedBackbone):
    """A backbone in two parts: the stem, and a session of its own for what stands above it."""

    def __init__(self, servable: ServableBackbone, options: EngineOptions, stem: LoadedStem, own: ServableStem) -> None:
        """Open the upper part of `own` on the `stem` of the same digest."""
        self._stem = stem
        super().__init__(servable, options, graph=own.upper, preprocessor=stem.preprocessor)
        self.lane = stem.lane

    @property
    def resident(self) -> ResidentKey:
        """Names its upper part among what takes memory; the stem has a name of its own."""
        return ResidentKey(self.digest, stem=self._stem.digest)

    def stem(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """`feeds` with what passes from the stem to every upper part."""
        return {**feeds, **self._stem.run(feeds)}

    def infer(self, feeds: Mapping[str, Array], taps: Sequence[str]) -> Mapping[str, Floats]:
        """The asked taps; feeds that have not been through the stem go through it first."""
        if self._stem.values[0] not in feeds:
            feeds = self.stem(feeds)
        return dict(zip(taps, upper_outputs(self._graph, feeds, taps), strict=True))

    def _measured(self, rows: int) -> Certificate:
        """Alone: the two parts are proven at publication, and this session is one of them."""
        return Certificate(self.digest, 0.0, 0.0, False, self._graph.provider, {"rows": 1})

    def _profiled(self, options: EngineOptions, *, measurable: bool) -> Profile:
        # One lane, one budget; and the stem is most of the work.
        if self._stem.profile is None:
            self._stem.profile = super()._profiled(options, measurable=measurable)
        return self._stem.profile

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, {self._stem!r})"
