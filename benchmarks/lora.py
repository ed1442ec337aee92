"""Adapters of rank 8 on MiniLM against none: served rates with 0, 1, 8 and 64 adapters, and with one that is merged.

Each number of adapters is a server of its own on core 0; windows of load alternate between them. The rate without any
adapter is the baseline. Two ratios are given, as medians of the rounds: answers per second by the clock, which is held
against the targets, and answers per CPU second of the server, which other processes disturb less.

The adapters change queries and values, as the target's do; `--layers all` changes every linear layer, as
`headstock fine-tune --strategy lora` does. `merged` is the first adapter after `headstock variant --merge-adapter`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from _answers import Expected, by_bare, check_answers
from _common import Load, closed_loop, ids_request, median, pin_load, report, serve, verdict
from _options import options
from _zoo import graph_of, head_artefact, head_weight, minilm_zoo, open_zoo
from headstock.adapter import Pair, adapter_artefact, target_weights
from headstock.adapter.adapted import AdaptedGraph
from headstock.backbone.restore import restore
from headstock.digest import Digest
from headstock.graph import Graph
from headstock.names import Reference
from headstock.oip import open_inference_grpc_pb2 as oip
from headstock.plugin_host import open_host
from headstock.records import Edge, ModelIdentity, Publication, artefact_of
from headstock.servable import load_adapter
from headstock.variant import merge_adapter

LENGTH, RANK, COUNTS, CALLERS, TARGET = 32, 8, (0, 1, 8, 64), 32, 0.88
MERGED, MERGED_TARGET = "merged", 0.97
LAYERS = {
    "qv": ("self.query", "self.value"),
    "all": ("self.query", "self.key", "self.value", "output.dense", "intermediate.dense"),
}
CHECKED = 8
"""Adapters whose answers are held against their graph in bare ONNX Runtime; one session each, so not all."""


def add_adapted(home: Path, count: int, rank: int, ends: tuple[str, ...]) -> list[str]:
    """Publish `plain` and `count` models with random adapters, whose numbers do not matter to speed, and `merged`."""
    names = ["plain", *(f"adapted-{i:02d}" for i in range(count))]
    with open_zoo(home) as catalogue, catalogue.writing("benchmark"):
        backbone = Digest(catalogue.version(Reference("minilm")).subject)
        module = restore(catalogue, open_host(catalogue.settings), backbone, "minilm").module
        weights = target_weights(module, [n for n, _ in module.named_modules() if n.endswith(ends)])
        graph: Digest | None = None
        for seed, name in enumerate(names):
            artefacts, edges, adapter = [], [], None
            if seed:
                made = adapter_artefact(catalogue, backbone, _pairs(weights, seed, rank), weights, graph=graph)
                graph = made.files["graph"]
                artefacts, edges, adapter = [made], [Edge(made.digest, "adapter_of", backbone)], made.digest
            head = head_artefact(catalogue, backbone, head_weight(seed), adapter)
            model = artefact_of("model", ModelIdentity(backbone, head.digest, adapter).to_json())
            edges.append(Edge(head.digest, "head_on", backbone))
            catalogue.publish(Publication(name, "model", model.digest, [*artefacts, head, model], edges))
        merge_adapter(catalogue, open_host(catalogue.settings), Reference(names[1]), MERGED)
    return names


def _pairs(weights: dict[str, np.ndarray], seed: int, rank: int) -> dict[str, Pair]:
    generator = np.random.default_rng([seed, rank])

    def factor(rows: int, columns: int) -> np.ndarray:
        return generator.normal(size=(rows, columns)).astype(np.float32) * 0.05

    return {n: Pair(factor(w.shape[0], rank), factor(rank, w.shape[1])) for n, w in weights.items()}


def right_answers(home: Path, names: list[str]) -> Expected:
    """What the plain model, the first adapted ones and the merged one must answer, from graphs in bare ONNX Runtime.

    Of the merged one that is what its adapter says in the row form.
    """
    graphs: dict[str, Graph] = {names[0]: Graph(graph_of(home))}
    with open_zoo(home) as catalogue:
        for name in names[1 : CHECKED + 1]:
            identity = ModelIdentity.from_json(catalogue.artefact(catalogue.version(Reference(name)).subject).identity)
            assert identity.adapter is not None
            graphs[name] = AdaptedGraph(load_adapter(catalogue, identity.adapter, identity.backbone))
    each = {name: by_bare(graph, {name: head_weight(names.index(name))}) for name, graph in graphs.items()}
    each[MERGED] = by_bare(graphs[names[1]], {MERGED: head_weight(1)})
    return lambda request: each[oip.ModelInferRequest.FromString(request).model_name](request)


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rank", type=int, default=RANK, help="of every adapter (%(default)s)")
    parser.add_argument("--tokens", type=int, default=LENGTH, help="of every row (%(default)s)")
    parser.add_argument("--layers", choices=LAYERS, default="qv", help="that adapters change (%(default)s)")
    parser.add_argument("--most", type=int, default=max(COUNTS), help="adapters at most (%(default)s)")


def main() -> int:
    """Measure, print, return 0 if the targets are met."""
    asked = options(__doc__, seconds=2.5, rounds=7, add=_more)
    counts = tuple(count for count in COUNTS if count <= max(1, asked.most))
    sides: tuple[int | str, ...] = (*counts, MERGED)
    pin_load()
    with minilm_zoo() as home, ExitStack() as stack:
        names = add_adapted(home, max(counts), asked.rank, LAYERS[asked.layers])
        plain, *adapted = names
        used: dict[int | str, list[str]] = {count: adapted[:count] or [plain] for count in counts}
        used[MERGED] = [MERGED]
        servers = {s: stack.enter_context(serve(home, "--models", ",".join(used[s]))) for s in sides}
        requests = {s: [ids_request(used[s][i % len(used[s])], asked.tokens, i) for i in range(64)] for s in sides}
        expected = right_answers(home, names)
        worst = max(check_answers(servers[s].address, requests[s], expected, count=CHECKED) for s in sides)
        loads: dict[int | str, list[Load]] = {side: [] for side in sides}
        paid: dict[int | str, list[float]] = {side: [] for side in sides}
        for _ in range(asked.rounds):
            for side, server in servers.items():
                before = server.cpu_seconds()
                load = closed_loop(server.address, requests[side], CALLERS, asked.seconds)
                loads[side].append(load)
                paid[side].append(load.answers / (server.cpu_seconds() - before))
        memory = {side: server.pss_mb() for side, server in servers.items()}
    if errors := sum(load.errors for group in loads.values() for load in group):
        raise SystemExit(f"{errors} requests failed")
    rate = {s: median([load.rate for load in loads[s]]) for s in sides}
    by_cpu = {s: median([mine / none for none, mine in zip(paid[0], paid[s], strict=True)]) for s in sides}
    by_clock = {s: _by_clock(loads, s, 0) for s in sides}
    p50 = {s: median([load.p50_ms for load in loads[s]]) for s in sides}
    report(
        f"adapters of rank {asked.rank} on MiniLM ({asked.layers}), {asked.tokens} tokens, {CALLERS} callers; answers "
        f"within {worst:.1g}",
        ["adapters", "req/s", "/ none", "by CPU time", "p50 ms", "resident MB"],
        [
            [s, f"{rate[s]:.1f}", f"{by_clock[s]:.3f}", f"{by_cpu[s]:.3f}", f"{p50[s]:.1f}", f"{memory[s]:.0f}"]
            for s in sides
        ],
        {
            "rate": rate,
            "ratio_by_the_clock": by_clock,
            "ratio_by_cpu_time": by_cpu,
            "rounds_by_cpu_time": paid,
            "merged_over_row_form": _by_clock(loads, MERGED, 1),
            "memory_mb": memory,
            "answers_within": worst,
        },
    )
    met = [verdict("one adapter merged / none", by_clock[MERGED], MERGED_TARGET)]
    if (asked.rank, asked.layers, max(counts)) == (RANK, "qv", max(COUNTS)):
        met.append(verdict("64 adapters of rank 8 / none", by_clock[64], TARGET))
    return 0 if all(met) else 1


def _by_clock(loads: Mapping[int | str, list[Load]], one: int | str, other: int | str) -> float:
    """How many times as fast `one` answers as `other`, the median of the rounds."""
    return median([mine.rate / its.rate for its, mine in zip(loads[other], loads[one], strict=True)])


if __name__ == "__main__":
    sys.exit(main())
