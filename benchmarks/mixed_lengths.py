"""Requests of mixed lengths, log-normal from 8 to 256 tokens: served over bare ONNX Runtime on length-sorted batches,
and over the same engine with batches in arrival order, padded to their longest row.

Bare ONNX Runtime sees all rows sorted and at its best batch size, which no server could arrange. The other policy is
the same server with engine settings under which no bound but the number of rows ends a pass: with no more callers
than that, every pass is all that waits, in order of arrival. All three stand on core 0 and take turns; each window
holds whole turns of the same rows. 32 callers are held against the targets, as many as most servers batch by default.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

from _answers import by_bare, check_answers
from _common import Server, closed_loop, median, pin_load, report, serve, serve_engine, verdict
from _limit import QUIET, BareOrt
from _mixed import ids_requests, mixed_lengths
from _options import options
from _zoo import TAP, VOCABULARY, add_models, graph_of, head_weight, minilm_zoo
from headstock.graph import Graph

ROWS, BATCHES, CALLERS, ARRIVAL = 256, (1, 2, 4, 8), (32, 8), 32
UNBOUNDED = 1 << 30


class Turn(NamedTuple):
    """Answers per second in one round."""

    bare: float
    served: float
    arrival: float


def main() -> int:
    """Measure, print, return 0 if both targets are met."""
    asked = options(__doc__, seconds=3.0, rounds=4)
    pin_load()
    with minilm_zoo() as home:
        names = add_models(home, 1)
        lengths = mixed_lengths(ROWS)
        requests = ids_requests(names, lengths)
        expected = by_bare(Graph(graph_of(home)), {names[0]: head_weight(0)})
        with (
            BareOrt(graph_of(home), vocabulary=VOCABULARY, tap=TAP) as bare,
            serve(home) as ours,
            serve_engine(home, token_budget=UNBOUNDED, max_rows=ARRIVAL, padding_waste=1.0) as arrival,
        ):
            best, by_batch = bare.best_batch(sorted(lengths), BATCHES, 0.1, rounds=2)
            worst = max(check_answers(server.address, requests, expected) for server in (ours, arrival))
            turns: dict[int, list[Turn]] = {callers: [] for callers in CALLERS}
            for _ in range(asked.rounds):
                for callers in CALLERS:
                    limit = bare.rate(sorted(lengths), best, min(1.0, asked.seconds)).wall
                    rates = [rate_of(server, requests, callers, asked.seconds) for server in (ours, arrival)]
                    turns[callers].append(Turn(limit, *rates))
            share = bare.core_share()
    to_bare = {c: median([t.served / t.bare for t in turns[c]]) for c in CALLERS}
    to_arrival = {c: median([t.served / t.arrival for t in turns[c]]) for c in CALLERS}
    report(
        f"{ROWS} rows of {min(lengths)} to {max(lengths)} tokens, mean {sum(lengths) / ROWS:.0f}; bare at batch "
        f"{best}; answers within {worst:.1g}",
        ["callers", "bare, sorted", "served", "arrival order", "served / bare", "served / arrival order"],
        [
            [
                c,
                *(f"{median([t[i] for t in turns[c]]):.1f}" for i in range(3)),
                f"{to_bare[c]:.3f}",
                f"{to_arrival[c]:.2f}",
            ]
            for c in CALLERS
        ],
        {
            "bare_sorted_rows_per_cpu_second": by_batch,
            "served_to_bare": to_bare,
            "served_to_arrival_order": to_arrival,
            "rounds": {c: [t._asdict() for t in turns[c]] for c in CALLERS},
            "answers_within": worst,
            "core_share": share,
        },
    )
    met = [
        verdict("mixed lengths, 32 callers, served / bare on sorted batches", to_bare[32], 0.92),
        verdict("mixed lengths, 32 callers, served / arrival order with padding", to_arrival[32], 2),
    ]
    return 0 if all(met) and share >= QUIET else 1


def rate_of(server: Server, requests: list[bytes], callers: int, seconds: float) -> float:
    """Answers per second over whole turns of the requests."""
    load = closed_loop(server.address, requests, callers, seconds, turns=1)
    if load.errors:
        raise SystemExit(f"{load.errors} requests failed")
    return load.rate


if __name__ == "__main__":
    sys.exit(main())
