"""Adapters of rank 8 on MiniLM against none: served rates with 0, 1, 8 and 64 adapters, queries and values changed.

Each number of adapters is a server of its own on core 0; windows of load alternate between them. The rate without any
adapter is the baseline. Two ratios are given, as medians of the rounds: answers per second by the clock, which is held
against the target, and answers per CPU second of the server, which other processes disturb less.
"""

from __future__ import annotations

import sys
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

LENGTH, RANK, COUNTS, CALLERS, TARGET = 32, 8, (0, 1, 8, 64), 32, 0.88
CHECKED = 8
"""Adapters whose answers are held against their graph in bare ONNX Runtime; one session each, so not all."""


def add_adapted(home: Path, count: int) -> list[str]:
    """Publish `plain` and `count` models with random adapters; their numbers do not matter to speed."""
    names = ["plain", *(f"adapted-{i:02d}" for i in range(count))]
    with open_zoo(home) as catalogue, catalogue.writing("benchmark"):
        backbone = Digest(catalogue.version(Reference("minilm")).subject)
        module = restore(catalogue, open_host(catalogue.settings), backbone, "minilm").module
        ends = ("self.query", "self.value")
        weights = target_weights(module, [n for n, _ in module.named_modules() if n.endswith(ends)])
        graph: Digest | None = None
        for seed, name in enumerate(names):
            artefacts, edges, adapter = [], [], None
            if seed:
                made = adapter_artefact(catalogue, backbone, _pairs(weights, seed), weights, graph=graph)
                graph = made.files["graph"]
                artefacts, edges, adapter = [made], [Edge(made.digest, "adapter_of", backbone)], made.digest
            head = head_artefact(catalogue, backbone, head_weight(seed), adapter)
            model = artefact_of("model", ModelIdentity(backbone, head.digest, adapter).to_json())
            edges.append(Edge(head.digest, "head_on", backbone))
            catalogue.publish(Publication(name, "model", model.digest, [*artefacts, head, model], edges))
    return names


def _pairs(weights: dict[str, np.ndarray], seed: int) -> dict[str, Pair]:
    generator = np.random.default_rng([seed, RANK])

    def factor(rows: int, columns: int) -> np.ndarray:
        return generator.normal(size=(rows, columns)).astype(np.float32) * 0.05

    return {n: Pair(factor(w.shape[0], RANK), factor(RANK, w.shape[1])) for n, w in weights.items()}


def right_answers(home: Path, names: list[str]) -> Expected:
    """What the plain model and the first adapted ones must answer, from their graphs in bare ONNX Runtime."""
    graphs: dict[str, Graph] = {names[0]: Graph(graph_of(home))}
    with open_zoo(home) as catalogue:
        for name in names[1 : CHECKED + 1]:
            identity = ModelIdentity.from_json(catalogue.artefact(catalogue.version(Reference(name)).subject).identity)
            assert identity.adapter is not None
            graphs[name] = AdaptedGraph(load_adapter(catalogue, identity.adapter, identity.backbone))
    each = {name: by_bare(graph, {name: head_weight(names.index(name))}) for name, graph in graphs.items()}
    return lambda request: each[oip.ModelInferRequest.FromString(request).model_name](request)


def main() -> int:
    """Measure, print, return 0 if the target is met."""
    asked = options(__doc__, seconds=2.5, rounds=7)
    pin_load()
    with minilm_zoo() as home, ExitStack() as stack:
        names = add_adapted(home, max(COUNTS))
        plain, *adapted = names
        used = {count: adapted[:count] or [plain] for count in COUNTS}
        servers = {c: stack.enter_context(serve(home, "--models", ",".join(used[c]))) for c in COUNTS}
        requests = {c: [ids_request(used[c][i % len(used[c])], LENGTH, i) for i in range(64)] for c in COUNTS}
        expected = right_answers(home, names)
        worst = max(check_answers(servers[c].address, requests[c], expected, count=CHECKED) for c in COUNTS)
        loads: dict[int, list[Load]] = {count: [] for count in COUNTS}
        paid: dict[int, list[float]] = {count: [] for count in COUNTS}
        for _ in range(asked.rounds):
            for count, server in servers.items():
                before = server.cpu_seconds()
                load = closed_loop(server.address, requests[count], CALLERS, asked.seconds)
                loads[count].append(load)
                paid[count].append(load.answers / (server.cpu_seconds() - before))
        memory = {count: server.pss_mb() for count, server in servers.items()}
    if errors := sum(load.errors for group in loads.values() for load in group):
        raise SystemExit(f"{errors} requests failed")
    rate = {c: median([load.rate for load in loads[c]]) for c in COUNTS}
    by_cpu = {c: median([mine / none for none, mine in zip(paid[0], paid[c], strict=True)]) for c in COUNTS}
    by_clock = {c: median([m.rate / o.rate for o, m in zip(loads[0], loads[c], strict=True)]) for c in COUNTS}
    p50 = {c: median([load.p50_ms for load in loads[c]]) for c in COUNTS}
    report(
        f"adapters of rank {RANK} on MiniLM, {LENGTH} tokens, {CALLERS} callers; answers within {worst:.1g}",
        ["adapters", "req/s", "/ none", "by CPU time", "p50 ms", "resident MB"],
        [
            [c, f"{rate[c]:.1f}", f"{by_clock[c]:.3f}", f"{by_cpu[c]:.3f}", f"{p50[c]:.1f}", f"{memory[c]:.0f}"]
            for c in COUNTS
        ],
        {
            "rate": rate,
            "ratio_by_the_clock": by_clock,
            "ratio_by_cpu_time": by_cpu,
            "rounds_by_cpu_time": paid,
            "memory_mb": memory,
            "answers_within": worst,
        },
    )
    return 0 if verdict("64 adapters of rank 8 / none", by_clock[64], TARGET) else 1


if __name__ == "__main__":
    sys.exit(main())
