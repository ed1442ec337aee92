"""A hundred heads on one backbone against one head: throughput and resident memory of the same server design.

Two servers, one with 1 model and one with 100, stand on core 0; windows of load alternate between them. The requests
of the hundred go to all models evenly.
"""

from __future__ import annotations

import sys

from _common import closed_loop, ids_request, median, pin_load, report, serve, verdict
from _zoo import add_models, minilm_zoo

LENGTH, ROUNDS, HEADS = 32, 5, 100


def main() -> int:
    """Measure, print, return 0 if both targets are met."""
    pin_load()
    with minilm_zoo() as home:
        names = add_models(home, HEADS)
        one = [ids_request(names[0], LENGTH, seed) for seed in range(HEADS)]
        many = [ids_request(name, LENGTH, seed) for seed, name in enumerate(names)]
        with serve(home, "--models", names[0]) as single, serve(home) as hundred:
            servers = {1: (single, one), HEADS: (hundred, many)}
            for server, requests in servers.values():
                closed_loop(server.address, requests, 32, 2.0)
            loads = {1: [], HEADS: []}  # type: ignore[var-annotated]
            for _ in range(ROUNDS):
                for heads, (server, requests) in servers.items():
                    loads[heads].append(closed_loop(server.address, requests, 32, 3.0))
            memory = {heads: server.pss_mb() for heads, (server, _) in servers.items()}
            ready = {heads: server.ready_seconds for heads, (server, _) in servers.items()}
    errors = sum(load.errors for group in loads.values() for load in group)
    if errors:
        raise SystemExit(f"{errors} requests failed")
    rate = {heads: median([load.rate for load in group]) for heads, group in loads.items()}
    throughput = median([m.rate / o.rate for o, m in zip(loads[1], loads[HEADS], strict=True)])
    report(
        f"{HEADS} heads against 1, {LENGTH} tokens, 32 callers",
        ["heads", "req/s", "p50 ms", "p99 ms", "resident MB", "ready s"],
        [
            [h, f"{rate[h]:.1f}", f"{median([x.p50_ms for x in loads[h]]):.1f}",
             f"{median([x.p99_ms for x in loads[h]]):.1f}", f"{memory[h]:.0f}", f"{ready[h]:.1f}"]
            for h in (1, HEADS)
        ],
        {
            "throughput_ratio": throughput,
            "memory_ratio": memory[HEADS] / memory[1],
            "rate": rate,
            "memory_mb": memory,
            "ready_s": ready,
        },
    )  # fmt: skip
    met = [
        verdict(f"throughput, {HEADS} heads / 1", throughput, 0.90),
        verdict(f"memory, {HEADS} heads / 1", memory[HEADS] / memory[1], 1.10, at_most=True),
    ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
