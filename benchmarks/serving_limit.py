"""Served requests per second over bare ONNX Runtime's best batch, on the same core and the same inputs.

The server and bare ONNX Runtime take turns on core 0; the load runs on core 1. Each round measures bare ONNX Runtime
at its best batch size (found first, over all sizes), then the server at each concurrency, then bare again; a round's
ratio uses the mean of the two bare bursts around it, and the median round is reported. Two ratios are given: by the
clock, which counts idle time of the server against it and also whatever else the machine does, and by the CPU time of
the two processes, which other processes disturb less.
"""

from __future__ import annotations

import sys

from _common import BareOrt, closed_loop, ids_request, median, pin_load, report, serve, verdict
from _zoo import add_models, graph_of, minilm_zoo

LENGTH, ROUNDS = 32, 5
CONCURRENCY = (32, 8, 1)
TARGET = 0.90
BATCHES = (1, 2, 4, 8, 16, 32)


def main() -> int:
    """Measure, print, return 0 if the target at concurrency 32 is met."""
    pin_load()
    with minilm_zoo() as home:
        (model,) = add_models(home, 1)
        bare = BareOrt(graph_of(home), vocabulary=30000, tap="mean")
        lengths = [LENGTH] * 64
        by_batch = {b: median([bare.rate(lengths, b, 1.0).cpu for _ in range(3)]) for b in BATCHES}
        best = max(by_batch, key=lambda b: by_batch[b])
        requests = [ids_request(model, LENGTH, seed) for seed in range(64)]
        ratios: dict[int, list[float]] = {c: [] for c in CONCURRENCY}
        by_cpu: dict[int, list[float]] = {c: [] for c in CONCURRENCY}
        loads: dict[int, list[tuple[float, float, float]]] = {c: [] for c in CONCURRENCY}
        with serve(home) as server:
            closed_loop(server.address, requests, 32, 1.0)
            for _ in range(ROUNDS):
                for concurrency in CONCURRENCY:
                    before = bare.rate(lengths, best, 1.0)
                    cpu = server.cpu_seconds()
                    load = closed_loop(server.address, requests, concurrency, 3.0)
                    cpu = server.cpu_seconds() - cpu
                    after = bare.rate(lengths, best, 1.0)
                    if load.errors:
                        raise SystemExit(f"{load.errors} requests failed")
                    ratios[concurrency].append(load.rate / ((before.wall + after.wall) / 2))
                    by_cpu[concurrency].append(load.answers / cpu / ((before.cpu + after.cpu) / 2))
                    loads[concurrency].append((load.rate, load.p50_ms, load.p99_ms))
        bare.close()
    report(
        f"bare ONNX Runtime, {LENGTH} tokens, rows per CPU second",
        ["batch", *map(str, BATCHES)],
        [["rows/s", *(f"{by_batch[b]:.0f}" for b in BATCHES)]],
        {},
    )
    rows = [
        [
            c,
            *(f"{median([load[i] for load in loads[c]]):.1f}" for i in range(3)),
            f"{median(ratios[c]):.3f}",
            f"{min(ratios[c]):.3f}..{max(ratios[c]):.3f}",
            f"{median(by_cpu[c]):.3f}",
        ]
        for c in CONCURRENCY
    ]
    report(
        f"served against bare at its best batch ({best})",
        ["callers", "req/s", "p50 ms", "p99 ms", "served / bare", "range", "by CPU time"],
        rows,
        {
            "bare_rows_per_cpu_second": by_batch,
            "ratio": {c: median(ratios[c]) for c in CONCURRENCY},
            "ratio_by_cpu_time": {c: median(by_cpu[c]) for c in CONCURRENCY},
            "rounds": ratios,
        },
    )
    return 0 if verdict("32 callers, served / bare", median(ratios[32]), TARGET) else 1


if __name__ == "__main__":
    sys.exit(main())
