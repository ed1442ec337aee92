"""Ten times more requests than the server can answer, for a minute: goodput, refusals, and how soon it is well again.

Arrivals are Poisson and do not wait for answers, and every request has a deadline: half of the peak first, then ten
times the peak, then half of it again. The peak is what as many callers as keep the server busy get, before and after.
Goodput counts answers that came in time. A refusal is an error that came before the deadline; its latency is the
client's, from sending. Recovery is the time from the end of the overload until nothing fails any more and the median
of every second is within twice that of the worst second before it. Random arrivals at half of the peak crowd into some
seconds by themselves: held against the median of before, a queue that was never overloaded seems to recover for more
than 5 s in a quarter of simulated runs, and held against the worst second in one of thirty.

Turning a request away is an answer too, and a bare one from gRPC in Python takes 0.1 to 0.3 ms of the same core. Nine
refusals must fit into a tenth of a row's time, whatever the server, so rows are long here; `--tokens 32` shows rows for
which that is out of reach.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
from collections import Counter
from collections.abc import Iterator

import grpc
import numpy as np

from _answers import by_bare, check_answers
from _common import CHANNEL, INFER, closed_loop, ids_request, median, pin_load, report, serve, verdict
from _options import options
from _zoo import add_models, graph_of, head_weight, minilm_zoo
from headstock.graph import Graph
from headstock_server.bench.arrivals import arrivals
from headstock_server.bench.figures import NOT_SENT, OK, Sample
from headstock_server.bench.load import Request, Target, opened

TOKENS, DEADLINE, FACTOR, CALM, BEFORE, AFTER, CALLERS, ROWS = 256, 1.0, 10.0, 0.5, 8.0, 12.0, 32, 64
PEAK_SECONDS, STEP = 4.0, 0.25
Phases = list[list[Sample]]
"""What was due before, during and after the overload."""


def main() -> int:
    """Measure, print, return 0 if every target is met."""
    asked = options(__doc__, seconds=60.0, rounds=1, add=_add)
    pin_load()
    with minilm_zoo() as home:
        (model,) = add_models(home, 1)
        requests = [ids_request(model, asked.tokens, seed) for seed in range(ROWS)]
        with serve(home) as server:
            expected = by_bare(Graph(graph_of(home)), {model: head_weight(0)})
            worst = check_answers(server.address, requests, expected)
            found = []
            for seed in range(asked.rounds):
                before = closed_loop(server.address, requests, CALLERS, PEAK_SECONDS).rate
                phases = asyncio.run(_overload(server.address, requests, before, asked, seed))
                after = closed_loop(server.address, requests, CALLERS, PEAK_SECONDS).rate
                found.append(_figures(phases, (before + after) / 2, asked.seconds, asked.deadline))
    figures = {name: median([f[name] for f in found]) for name in found[0]}
    report(
        f"{FACTOR:.0f} times the peak for {asked.seconds:.0f} s, {asked.tokens} tokens, deadline {asked.deadline} s",
        ["what", "value"],
        [[name, f"{value:.4g}"] for name, value in figures.items()],
        {**figures, "rounds": found, "answers_within": worst, "tokens": asked.tokens, "seconds": asked.seconds},
    )
    met = [
        verdict("goodput / peak", figures["goodput / peak"], 0.90),
        verdict("refusals, p99 ms at the client", figures["refusal p99 ms"], 10, at_most=True),
        verdict("recovery, s", figures["recovery s"], 5, at_most=True),
    ]
    return 0 if all(met) else 1


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=int, default=TOKENS, help="of each row (%(default)s)")
    parser.add_argument("--deadline", type=float, default=DEADLINE, help="seconds of each request (%(default)s)")


async def _overload(address: str, requests: list[bytes], peak: float, asked: argparse.Namespace, seed: int) -> Phases:
    edges = [BEFORE, BEFORE + asked.seconds, BEFORE + asked.seconds + AFTER]
    due = list(_schedule([CALM * peak, FACTOR * peak, CALM * peak], edges, seed))
    async with grpc.aio.insecure_channel(address, options=CHANNEL) as channel:
        upcoming = itertools.cycle([Request("", request) for request in requests])
        target = Target(channel.unary_unary(INFER), upcoming, asked.deadline)
        await opened(lambda: iter(due))(target, asyncio.Event())
    begin = min(sample.due for sample in target.samples) - due[0]
    phases: Phases = [[], [], []]
    for sample in sorted(target.samples, key=lambda s: s.due):
        phases[int(np.searchsorted(edges, sample.due - begin, side="right").clip(0, 2))].append(sample)
    return phases


def _schedule(rates: list[float], edges: list[float], seed: int) -> Iterator[float]:
    """Poisson arrivals, each rate until its edge."""
    start = 0.0
    for place, (rate, end) in enumerate(zip(rates, edges, strict=True)):
        times = (start + offset for offset in arrivals(rate, "poisson", seed * len(rates) + place))
        yield from itertools.takewhile(lambda time, end=end: time < end, times)
        start = end


def _figures(phases: Phases, peak: float, seconds: float, deadline: float) -> dict[str, float]:
    before, during, after = phases
    good = [s for s in during if s.code == OK]
    refused = [s for s in during if s.code not in (OK, NOT_SENT) and s.ended - s.sent < 0.9 * deadline]
    codes = Counter(s.code for s in during)
    print(f"during the overload: {dict(codes)}; before it: {dict(Counter(s.code for s in before))}")
    usual = max(latencies for _, latencies, _ in _seconds(before, BEFORE))
    return {
        "peak, answers/s": peak,
        "offered, requests/s": len(during) / seconds,
        "goodput / peak": len(good) / seconds / peak,
        "answered p99 ms": _percentile([s.latency_ms for s in good]),
        "refused": float(len(refused)),
        "refusal p50 ms": _percentile([(s.ended - s.sent) * 1000 for s in refused], 50),
        "refusal p99 ms": _percentile([(s.ended - s.sent) * 1000 for s in refused]),
        "accepted and late": float(codes.total() - len(good) - len(refused) - codes[NOT_SENT]),
        "not sent by the client": float(codes[NOT_SENT]),
        "sent late p99 ms": _percentile([(s.sent - s.due) * 1000 for s in during]),
        "calm p50 ms": median([s.latency_ms for s in before if s.code == OK]),
        "calm p50 ms, worst second": usual,
        "recovery s": _recovery(after, usual),
    }


def _seconds(samples: list[Sample], length: float) -> Iterator[tuple[float, float, bool]]:
    """Of every second that begins at a multiple of `STEP`: where, its median latency, and whether something failed."""
    start = samples[0].due
    for offset in np.arange(0.0, length - 1.0, STEP):
        window = [s for s in samples if offset <= s.due - start < offset + 1.0]
        if window:
            yield float(offset), median([s.latency_ms for s in window]), any(s.code != OK for s in window)


def _recovery(after: list[Sample], usual_ms: float) -> float:
    """Seconds until the last second in which something failed or half of it took more than twice `usual_ms`.

    `inf` if that was so until the end.
    """
    recovered, last = 0.0, AFTER - 1.0 - STEP
    for offset, latency, failed in _seconds(after, AFTER):
        if failed or latency > 2 * usual_ms:
            recovered = offset + STEP
    return recovered if recovered <= last else float("inf")


def _percentile(values: list[float], q: float = 99) -> float:
    return float(np.percentile(values, q)) if values else float("nan")


if __name__ == "__main__":
    sys.exit(main())
