"""A hundred heads on one backbone against a hundred separate ONNX Runtime sessions, each batched by itself.

Both are this server. One has a hundred models on one backbone; the other the same hundred models on backbones of their
own, so that each has its session and its lane: what a server that batches by model does. The other is spared the
profiling of each session, and its sessions read one file. Both stand on core 0; windows of load take turns. A server is
ready once every model has answered.
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import islice
from typing import NamedTuple

import grpc
import psutil

from _answers import by_bare, check_answers
from _common import (
    INFER,
    Load,
    Server,
    closed_loop,
    ids_request,
    median,
    pin_load,
    report,
    serve,
    serve_engine,
    verdict,
)
from _mixed import ids_requests, mixed_lengths
from _options import options
from _zoo import add_models, add_private_models, graph_of, head_weight, minilm_zoo
from headstock.graph import Graph
from headstock_server.bench.mix import picks, shares

MODELS, ROWS, LENGTH, CALLERS = 100, 256, 32, 32
BUDGET = 256
"""Tokens of a pass of a separate session: where one core gains nothing more."""
SESSION_MB = 115
"""What a session of MiniLM takes, generously."""


class Cell(NamedTuple):
    """Which models and lengths the requests have."""

    mix: str
    tokens: str
    target: float

    def __str__(self) -> str:
        return f"{self.mix}, {self.tokens} tokens"


CELLS = (
    Cell("uniform", "mixed", 1.2),
    Cell("zipf:1.1", "mixed", 1.2),
    Cell("uniform", str(LENGTH), 1.5),
    Cell("zipf:1.1", str(LENGTH), 1.5),
)


class Side(NamedTuple):
    """One of the two servers."""

    server: Server
    requests: dict[Cell, list[bytes]]
    ready: float
    """Seconds until every model had answered once."""
    worst: float
    """Largest difference of an answer from bare ONNX Runtime, as a share."""


class Seen(NamedTuple):
    """One window of one side."""

    load: Load
    per_cpu: float
    """Answers per CPU second of the server."""


class Turn(NamedTuple):
    """Both sides in one round."""

    ours: Seen
    separate: Seen


def main() -> int:
    """Measure, print, return 0 if every target is met."""
    asked = options(__doc__, seconds=4.0, rounds=3, add=_add)
    pin_load()
    needed = asked.models * SESSION_MB * 1e6
    if psutil.virtual_memory().available < needed:
        raise SystemExit(f"{asked.models} sessions take about {needed / 1e9:.0f} GB; expected so much free memory")
    with minilm_zoo() as home:
        shared, private = add_models(home, asked.models), add_private_models(home, asked.models)
        graph = Graph(graph_of(home))
        with (
            serve(home, "--models", ",".join(shared)) as ours,
            serve_engine(home, private, token_budget=BUDGET) as theirs,
        ):
            sides = [side(server, names, graph) for server, names in ((ours, shared), (theirs, private))]
            turns: dict[Cell, list[Turn]] = {cell: [] for cell in CELLS}
            for _ in range(asked.rounds):
                for cell in CELLS:
                    turns[cell].append(Turn(*(window(s, cell, asked.seconds) for s in sides)))
            memory = [s.server.pss_mb() for s in sides]
    return _judge(turns, sides, memory, asked.models)


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", type=int, default=MODELS, help="how many models (%(default)s)")


def side(server: Server, names: list[str], graph: Graph) -> Side:
    """A server that has just started, once all its models have answered and have answered right."""
    begin = time.perf_counter()
    with grpc.insecure_channel(server.address) as channel:
        infer = channel.unary_unary(INFER)
        for name in names:
            infer(ids_request(name, LENGTH, 0))
    ready = server.ready_seconds + time.perf_counter() - begin
    requests = {cell: _requests(names, cell) for cell in CELLS}
    expected = by_bare(graph, {name: head_weight(seed) for seed, name in enumerate(names)})
    worst = max(check_answers(server.address, requests[cell], expected) for cell in (CELLS[0], CELLS[2]))
    return Side(server, requests, ready, worst)


def _requests(names: list[str], cell: Cell) -> list[bytes]:
    lengths = mixed_lengths(ROWS) if cell.tokens == "mixed" else [LENGTH] * ROWS
    if cell.mix == "uniform":
        return ids_requests(names, lengths)
    return ids_requests([names[i] for i in islice(picks(shares(cell.mix, len(names)), 0), ROWS)], lengths)


def window(side: Side, cell: Cell, seconds: float) -> Seen:
    """One window of load."""
    before = side.server.cpu_seconds()
    load = closed_loop(side.server.address, side.requests[cell], CALLERS, seconds, turns=1)
    if load.errors:
        raise SystemExit(f"{load.errors} requests failed")
    return Seen(load, load.answers / (side.server.cpu_seconds() - before))


def _judge(turns: dict[Cell, list[Turn]], sides: list[Side], memory: list[float], models: int) -> int:
    ratio = {cell: median([t.ours.load.rate / t.separate.load.rate for t in turns[cell]]) for cell in CELLS}
    by_cpu = {cell: median([t.ours.per_cpu / t.separate.per_cpu for t in turns[cell]]) for cell in CELLS}
    ready = [s.ready for s in sides]
    report(
        f"{models} models, {CALLERS} callers; answers within {max(s.worst for s in sides):.1g} of bare ONNX Runtime",
        ["mix", "tokens", *("req/s", "separate", "p50 ms", "separate", "p99 ms", "separate"), "ratio", "by CPU time"],
        [[c.mix, c.tokens, *_figures(turns[c]), f"{ratio[c]:.3f}", f"{by_cpu[c]:.3f}"] for c in CELLS],
        {
            "throughput_ratio": {str(c): ratio[c] for c in CELLS},
            "throughput_ratio_by_cpu_time": {str(c): by_cpu[c] for c in CELLS},
            "rounds": {str(c): [[seen.load.rate for seen in turn] for turn in turns[c]] for c in CELLS},
            "memory_mb": memory,
            "ready_s": ready,
            "models": models,
        },
    )
    print(f"resident MB {memory[0]:.0f} against {memory[1]:.0f}; ready after {ready[0]:.1f} s against {ready[1]:.1f} s")
    met = [verdict(f"{c}, ours / separate sessions", ratio[c], c.target) for c in CELLS]
    met.append(verdict("memory, ours / separate sessions", memory[0] / memory[1], 1 / 20, at_most=True))
    met.append(verdict("time until ready, ours / separate sessions", ready[0] / ready[1], 1 / 10, at_most=True))
    return 0 if all(met) else 1


def _figures(turns: list[Turn]) -> list[str]:
    """Rate, p50 and p99 of both sides, side by side."""
    names = ("rate", "p50_ms", "p99_ms")
    return [f"{median([getattr(turn[i].load, name) for turn in turns]):.1f}" for name in names for i in (0, 1)]


if __name__ == "__main__":
    sys.exit(main())
