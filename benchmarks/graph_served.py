"""Served requests per second with the better graph over bare ONNX Runtime's limit with the graph as it was exported.

`headstock variant` makes the better graph and keeps it only where it agrees with the original and a row alone equals
the row in company. The limit is the exported FP32 graph, not fused, in bare ONNX Runtime at its best batch size. Both
stand on core 0 and take turns: bare, the server with the variant, the server with the plain graph, bare again.
"""

from __future__ import annotations

import sys

from _answers import by_bare, check_answers
from _common import closed_loop, ids_request, median, pin_load, report, serve, verdict
from _limit import QUIET, BareOrt
from _options import options
from _zoo import TAP, VOCABULARY, add_models, graph_of, head_weight, minilm_zoo, open_zoo
from headstock.graph import Graph
from headstock.names import Reference
from headstock.variant import make_variant

PRECISION, LENGTH, ROWS, CALLERS, BATCHES, TARGET = "int8-per-token", 32, 64, 32, (1, 4, 8, 16, 32), 1.15
VARIANT = f"minilm-{PRECISION}"
BURST = 0.7


def main() -> int:
    """Measure, print, return 0 if the target is met."""
    asked = options(__doc__, seconds=3.0, rounds=6)
    pin_load()
    with minilm_zoo() as home:
        with open_zoo(home) as catalogue:
            agreement = make_variant(catalogue, Reference("minilm"), PRECISION, VARIANT).version.details["agreement"]
        graphs = {"plain": graph_of(home), PRECISION: graph_of(home, VARIANT)}
        models = {"plain": add_models(home, 1)[0], PRECISION: add_models(home, 1, VARIANT, "variant")[0]}
        requests = {name: [ids_request(model, LENGTH, seed) for seed in range(ROWS)] for name, model in models.items()}
        lengths = [LENGTH] * ROWS
        rates: dict[str, list[float]] = {"bare": [], PRECISION: [], "plain": []}
        with (
            BareOrt(graphs["plain"], vocabulary=VOCABULARY, tap=TAP) as bare,
            serve(home, "--models", ",".join(models.values())) as server,
        ):
            best, by_batch = bare.best_batch(lengths, BATCHES, min(BURST, asked.seconds))
            worst = {
                name: check_answers(
                    server.address, requests[name], by_bare(Graph(path), {models[name]: head_weight(0)})
                )
                for name, path in graphs.items()
            }
            for _ in range(asked.rounds):
                before = bare.rate(lengths, best, min(BURST, asked.seconds)).wall
                for name in (PRECISION, "plain"):
                    load = closed_loop(server.address, requests[name], CALLERS, asked.seconds)
                    if load.errors:
                        raise SystemExit(f"{load.errors} requests failed")
                    rates[name].append(load.rate)
                rates["bare"].append((before + bare.rate(lengths, best, min(BURST, asked.seconds)).wall) / 2)
            share = bare.core_share()
    ratio = {n: median([r / b for r, b in zip(rates[n], rates["bare"], strict=True)]) for n in (PRECISION, "plain")}
    report(
        f"{LENGTH} tokens, {CALLERS} callers; bare is the exported FP32 graph at batch {best}",
        ["served graph", "req/s", "bare rows/s", "served / bare", "answers within"],
        [
            [n, f"{median(rates[n]):.1f}", f"{median(rates['bare']):.1f}", f"{r:.3f}", f"{worst[n]:.1g}"]
            for n, r in ratio.items()
        ],
        {
            "ratio": ratio,
            "rounds": rates,
            "bare_rows_per_cpu_second": by_batch,
            "agreement": agreement,
            "answers_within": worst,
            "core_share": share,
        },
    )
    met = verdict(f"served with {PRECISION} / bare with the exported graph", ratio[PRECISION], TARGET)
    return 0 if met and share >= QUIET else 1


if __name__ == "__main__":
    sys.exit(main())
