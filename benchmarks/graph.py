"""Variants of a backbone's graph against the plain one: bare ONNX Runtime, rows of equal length, CPU time.

Both graphs run in this process on one core and one thread, and take turns; each round's ratio is formed of neighbours
in time, and the median round is reported. The plain graph is what `pull` exports: FP32, not fused. The figure held
against the target is the best rate of the variant at 32 tokens over the best rate of the plain graph there, each at
its own best number of rows. A precision that the catalogue refuses is listed with the reason.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from _common import median, pin_load, report, verdict
from _zoo import graph_of, minilm_zoo, open_zoo
from headstock.errors import HeadstockError
from headstock.graph import Graph
from headstock.names import Reference
from headstock.variant import make_variant

PRECISIONS = ("int8-per-token", "int8-weight-only", "fp16")
ROWS, LENGTHS, ROUNDS, LENGTH, TARGET, TAP = (1, 4, 8), (8, 32, 128), 15, 32, 1.15, "mean"


def feeds_of(graph: Graph, rows: int, length: int) -> dict[str, np.ndarray]:
    """One pass of random tokens without padding."""
    ids = np.random.default_rng(length).integers(1000, 30000, (rows, length))
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    return {name: feeds[name] for name in graph.inputs}


def seconds(graph: Graph, feeds: dict[str, np.ndarray]) -> float:
    """CPU time of one pass."""
    start = time.process_time()
    graph.run(feeds, [TAP])
    return time.process_time() - start


def measure(graphs: dict[str, Graph], rows: int, length: int) -> dict[str, list[float]]:
    """CPU seconds of every graph in every round, after one to warm up."""
    feeds = feeds_of(graphs["plain"], rows, length)
    taken: dict[str, list[float]] = {name: [] for name in graphs}
    for _ in range(ROUNDS + 1):
        for name, graph in graphs.items():
            taken[name].append(seconds(graph, feeds))
    return {name: values[1:] for name, values in taken.items()}


def main() -> int:
    """Measure, print, return 0 if the target is met."""
    pin_load()
    with minilm_zoo() as home:
        graphs, refused, agreement = {"plain": Graph(graph_of(home))}, {}, {}
        with open_zoo(home) as catalogue:
            for precision in PRECISIONS:
                try:
                    made = make_variant(catalogue, Reference("minilm"), precision, f"minilm-{precision}")
                except HeadstockError as error:
                    refused[precision] = error.message
                    continue
                agreement[precision] = made.version.details["agreement"]
                graphs[precision] = Graph(graph_of(home, made.version.name))
        taken = {(rows, length): measure(graphs, rows, length) for length in LENGTHS for rows in ROWS}
    kept = [name for name in graphs if name != "plain"]
    ratios = {
        name: {
            f"{rows}x{length}": median([v / p for p, v in zip(found["plain"], found[name], strict=True)])
            for (rows, length), found in taken.items()
        }
        for name in kept
    }
    report(
        "time of one pass, variant / plain",
        ["rows x tokens", "plain ms", *kept],
        [
            [f"{r}x{n}", f"{median(found['plain']) * 1e3:.2f}", *(f"{ratios[k][f'{r}x{n}']:.3f}" for k in kept)]
            for (r, n), found in taken.items()
        ],
        {
            "ratio": ratios,
            "rate_at_32_tokens": (gain := gains(taken, kept)),
            "agreement": agreement,
            "refused": refused,
        },
    )
    for precision, why in refused.items():
        print(f"{precision} is refused: {why}")
    return 0 if verdict(f"int8-per-token, best rate at {LENGTH} tokens / plain", gain["int8-per-token"], TARGET) else 1


def gains(taken: dict[tuple[int, int], dict[str, list[float]]], kept: list[str]) -> dict[str, float]:
    """Best rate at 32 tokens over the plain graph's best, each at its own best number of rows."""
    best = {
        name: max(rows / median(found[name]) for (rows, length), found in taken.items() if length == LENGTH)
        for name in ("plain", *kept)
    }
    return {name: best[name] / best["plain"] for name in kept}


if __name__ == "__main__":
    sys.exit(main())
