"""A hundred heads on one backbone against one head: throughput and resident memory of the same server design.

Two servers, one with 1 model and one with 100, stand on core 0; windows of load alternate between them. The requests
of the hundred go to all models evenly.
"""

from __future__ import annotations

import sys

from _answers import by_bare, check_answers
from _common import Load, closed_loop, ids_request, median, pin_load, report, serve, verdict
from _options import options
from _zoo import add_models, graph_of, head_weight, minilm_zoo
from headstock.graph import Graph

LENGTH, HEADS = 32, 100


def main() -> int:
    """Measure, print, return 0 if both targets are met."""
    asked = options(__doc__, seconds=3.0, rounds=7)
    pin_load()
    with minilm_zoo() as home:
        names = add_models(home, HEADS)
        one = [ids_request(names[0], LENGTH, seed) for seed in range(HEADS)]
        many = [ids_request(name, LENGTH, seed) for seed, name in enumerate(names)]
        with serve(home, "--models", names[0]) as single, serve(home, "--models", ",".join(names)) as hundred:
            servers = {1: (single, one), HEADS: (hundred, many)}
            expected = by_bare(Graph(graph_of(home)), {name: head_weight(seed) for seed, name in enumerate(names)})
            worst = max(check_answers(s.address, requests, expected, count=HEADS) for s, requests in servers.values())
            loads: dict[int, list[Load]] = {1: [], HEADS: []}
            for _ in range(asked.rounds):
                for heads, (server, requests) in servers.items():
                    loads[heads].append(closed_loop(server.address, requests, 32, asked.seconds))
            memory = {heads: server.pss_mb() for heads, (server, _) in servers.items()}
            ready = {heads: server.ready_seconds for heads, (server, _) in servers.items()}
    if errors := sum(load.errors for group in loads.values() for load in group):
        raise SystemExit(f"{errors} requests failed")
    rate = {heads: median([load.rate for load in group]) for heads, group in loads.items()}
    throughput = median([m.rate / o.rate for o, m in zip(loads[1], loads[HEADS], strict=True)])
    report(
        f"{HEADS} heads against 1, {LENGTH} tokens, 32 callers; answers within {worst:.1g} of bare ONNX Runtime",
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
            "answers_within": worst,
        },
    )  # fmt: skip
    met = [
        verdict(f"throughput, {HEADS} heads / 1", throughput, 0.95),
        verdict(f"memory, {HEADS} heads / 1", memory[HEADS] / memory[1], 1.05, at_most=True),
    ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
