"""Served requests per second over bare ONNX Runtime's, on the same core and the same inputs.

The server and bare ONNX Runtime take turns on core 0; the load runs on core 1. At 32 tokens the limit is bare ONNX
Runtime at its best batch size, found first; at 8 and 16 tokens it is batch 1, which a server that batches must beat.
Each round measures bare, the server, and bare again, for every cell; a round's ratio uses the mean of the two bursts
around it, and the median round is held against the target. Two ratios are given: by the clock, which counts idle time
of the server against it and also whatever else the machine does, and by the CPU time of the processes, which other
processes disturb less. The clock decides.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

from _answers import by_bare, check_answers
from _common import Load, Server, closed_loop, ids_request, median, pin_load, report, serve, verdict
from _limit import QUIET, BareOrt, BareRate
from _options import options
from _zoo import TAP, VOCABULARY, add_models, graph_of, head_weight, minilm_zoo
from headstock.graph import Graph

BATCHES = (1, 2, 4, 8, 16, 32)
LENGTH, BEST, ROWS, BURST = 32, 0, 64, 0.7


class Cell(NamedTuple):
    """One load and what it is held against."""

    tokens: int
    callers: int
    batch: int
    """Bare ONNX Runtime's; `BEST` for the one with most rows per second."""
    target: float

    def __str__(self) -> str:
        return f"{self.tokens} tokens, {self.callers} callers"


CELLS = (
    Cell(LENGTH, 32, BEST, 0.95),
    Cell(LENGTH, 8, BEST, 0.88),
    Cell(LENGTH, 1, BEST, 0.68),
    Cell(8, 32, 1, 2.0),
    Cell(16, 32, 1, 1.35),
)


class Turn(NamedTuple):
    """A window of the server between two bursts of bare ONNX Runtime."""

    load: Load
    by_clock: float
    by_cpu: float


def main() -> int:
    """Measure, print, return 0 if every target is met."""
    asked = options(__doc__, seconds=3.0, rounds=5)
    pin_load()
    with minilm_zoo() as home:
        (model,) = add_models(home, 1)
        graph = graph_of(home)
        requests = {n: [ids_request(model, n, seed) for seed in range(ROWS)] for n in {cell.tokens for cell in CELLS}}
        with BareOrt(graph, vocabulary=VOCABULARY, tap=TAP) as bare, serve(home) as server:
            best, by_batch = bare.best_batch([LENGTH] * ROWS, BATCHES, min(BURST, asked.seconds))
            expected = by_bare(Graph(graph), {model: head_weight(0)})
            worst = max(check_answers(server.address, group, expected) for group in requests.values())
            turns: dict[Cell, list[Turn]] = {cell: [] for cell in CELLS}
            for _ in range(asked.rounds):
                for cell in CELLS:
                    turns[cell].append(
                        turn(bare, server, requests[cell.tokens], cell, cell.batch or best, asked.seconds)
                    )
            share = bare.core_share()
    report(
        f"bare ONNX Runtime, {LENGTH} tokens, rows per CPU second",
        ["batch", *map(str, BATCHES)],
        [["rows/s", *(f"{by_batch[b]:.0f}" for b in BATCHES)]],
        {},
    )
    ratio = {cell: median([t.by_clock for t in turns[cell]]) for cell in CELLS}
    report(
        f"served against bare; its best batch is {best}; answers within {worst:.1g} of it",
        ["tokens", "callers", "bare's batch", "req/s", "p50 ms", "p99 ms", "served / bare", "range", "by CPU time"],
        [_row(cell, cell.batch or best, turns[cell]) for cell in CELLS],
        {
            "bare_rows_per_cpu_second": by_batch,
            "ratio": {str(cell): ratio[cell] for cell in CELLS},
            "ratio_by_cpu_time": {str(cell): median([t.by_cpu for t in turns[cell]]) for cell in CELLS},
            "rounds": {str(cell): [t.by_clock for t in turns[cell]] for cell in CELLS},
            "answers_within": worst,
            "core_share": share,
        },
    )
    met = [verdict(f"{cell}, served / bare at batch {cell.batch or best}", ratio[cell], cell.target) for cell in CELLS]
    return 0 if all(met) and share >= QUIET else 1


def turn(bare: BareOrt, server: Server, requests: list[bytes], cell: Cell, batch: int, seconds: float) -> Turn:
    """One round of one cell."""
    lengths = [cell.tokens] * ROWS
    before = bare.rate(lengths, batch, min(BURST, seconds))
    cpu = server.cpu_seconds()
    load = closed_loop(server.address, requests, cell.callers, seconds)
    cpu = server.cpu_seconds() - cpu
    after = bare.rate(lengths, batch, min(BURST, seconds))
    if load.errors:
        raise SystemExit(f"{load.errors} requests failed")
    limit = BareRate(*(median(pair) for pair in zip(before, after, strict=True)))
    return Turn(load, load.rate / limit.wall, load.answers / cpu / limit.cpu)


def _row(cell: Cell, batch: int, turns: list[Turn]) -> list[object]:
    ratios = [t.by_clock for t in turns]
    return [
        cell.tokens,
        cell.callers,
        batch,
        *(f"{median([getattr(t.load, name) for t in turns]):.1f}" for name in ("rate", "p50_ms", "p99_ms")),
        f"{median(ratios):.3f}",
        f"{min(ratios):.3f}..{max(ratios):.3f}",
        f"{median([t.by_cpu for t in turns]):.3f}",
    ]


if __name__ == "__main__":
    sys.exit(main())
