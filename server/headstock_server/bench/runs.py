"""One measurement of a load, and the search for the highest rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from headstock.errors import FailedPrecondition
from headstock_server.bench.arrivals import Arrivals, arrivals
from headstock_server.bench.figures import label
from headstock_server.bench.load import closed, opened
from headstock_server.bench.measure import Measured, Rules, measure
from headstock_server.bench.search import highest_rate
from headstock_server.bench.workload import Prepared


@dataclass(frozen=True, slots=True)
class Run:
    """A load and what was measured under it."""

    load: Mapping[str, Any]
    """`loop`, and `concurrency`, or `rate` and `arrivals`."""
    measured: Measured
    search: Mapping[str, Any] | None = None
    """Of the run at the highest rate: the bound and every trial."""

    @property
    def size(self) -> float:
        """Callers, or requests a second."""
        return float(self.load["concurrency"] if self.load["loop"] == "closed" else self.load["rate"])


@dataclass(frozen=True, slots=True)
class Runner:
    """Measures loads on one server."""

    address: str
    prepared: Prepared
    rules: Rules
    kind: Arrivals
    """Of open loops."""
    seed: int

    def closed(self, concurrency: int) -> Run:
        """`concurrency` callers that wait for their answers."""
        measured = measure(self.address, closed(concurrency), self.prepared.requests(), self.rules, by_due=False)
        return Run({"loop": "closed", "concurrency": concurrency}, measured)

    def opened(self, rate: float) -> Run:
        """`rate` requests a second, whether or not they are answered."""
        loop = opened(lambda: arrivals(rate, self.kind, self.seed))
        measured = measure(self.address, loop, self.prepared.requests(), self.rules, by_due=True)
        return Run({"loop": "open", "rate": rate, "arrivals": self.kind}, measured)

    def highest(self, start: float, bound_ms: float, tell: Callable[[str], None]) -> tuple[Run, list[Run]]:
        """The run at the highest rate whose percentile keeps to the bound, and all runs of the search.

        Raises `FailedPrecondition` if no rate does.
        """
        percentile = label(self.rules.percentile)
        seen: dict[float, Run] = {}
        trials: list[dict[str, Any]] = []

        def sustains(rate: float) -> bool:
            seen[rate] = run = self.opened(rate)
            figures = run.measured.figures
            latency = figures.latency_ms[percentile]
            met = (
                latency is not None and latency <= bound_ms and not figures.errors and run.measured.stable is not False
            )
            trials.append({"rate": rate, "latency_ms": latency, "errors": dict(figures.errors), "sustained": met})
            tell(f"{rate:.1f}/s: {'sustained' if met else 'not sustained'}")
            return met

        rate = highest_rate(sustains, start)
        if rate is None:
            raise FailedPrecondition(
                f"no rate down to {trials[-1]['rate']:.3g}/s kept {percentile} under {bound_ms:g} ms",
                fix="a longer --duration, or a higher --bound-ms",
            )
        search = {"rate": rate, "bound_ms": bound_ms, "percentile": self.rules.percentile, "trials": trials}
        return Run(seen[rate].load, seen[rate].measured, search), list(seen.values())
