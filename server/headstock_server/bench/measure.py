"""One measurement: a load, a warm-up, and windows until they agree."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import grpc

from headstock_server.bench.figures import Figures, figures, label
from headstock_server.bench.load import CHANNEL, INFER, Loop, Requests, Target
from headstock_server.bench.stable import WINDOWS, Window, is_stable


@dataclass(frozen=True, slots=True)
class Rules:
    """How a load is measured."""

    duration: float
    """Seconds of a window."""
    warmup: float
    """Seconds of load before the first window."""
    percentile: float
    stable: bool
    """Measure windows until three in a row agree; otherwise one window."""
    max_windows: int
    timeout: float
    """Seconds a request may take."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a measurement saw."""

    figures: Figures
    """Of the only window, or of the last three."""
    windows: Sequence[Window]
    stable: bool | None
    """Whether the windows agreed in the end; None where that was not asked."""
    requests: int
    """All requests, the warm-up's included; each was answered or is counted as not sent."""
    models: Mapping[str, int]
    """The same by model."""


def measure(address: str, loop: Loop, requests: Requests, rules: Rules, *, by_due: bool) -> Measured:
    """Load the server at `address` and measure it; `by_due` for an open loop."""
    return asyncio.run(_measure(address, loop, requests, rules, by_due))


async def _measure(address: str, loop: Loop, requests: Requests, rules: Rules, by_due: bool) -> Measured:
    stop = asyncio.Event()
    async with grpc.aio.insecure_channel(address, options=CHANNEL) as channel:
        target = Target(channel.unary_unary(INFER), requests, rules.timeout)
        _, (edges, windows) = await asyncio.gather(loop(target, stop), _watch(target, stop, rules))
    first = max(0, len(windows) - WINDOWS)
    return Measured(
        figures=figures(target.samples, edges[first], edges[-1], rules.percentile, by_due=by_due),
        windows=windows,
        stable=is_stable(windows) if rules.stable else None,
        requests=len(target.samples),
        models=dict(Counter(sample.model for sample in target.samples)),
    )


async def _watch(target: Target, stop: asyncio.Event, rules: Rules) -> tuple[list[float], list[Window]]:
    """The edges of the windows and what was answered within each; stops the load after the last."""
    await asyncio.sleep(rules.warmup)
    edges, windows = [time.perf_counter()], list[Window]()
    while len(windows) < (rules.max_windows if rules.stable else 1) and not is_stable(windows):
        await asyncio.sleep(rules.duration)
        edges.append(time.perf_counter())
        # By when they ended: those that were due in it may not be answered yet.
        seen = figures(target.samples, edges[-2], edges[-1], rules.percentile, by_due=False)
        windows.append(Window(seen.rate, seen.latency_ms[label(rules.percentile)]))
    stop.set()
    return edges, windows
