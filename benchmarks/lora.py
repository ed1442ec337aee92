"""Adapters of rank 8 on MiniLM against none: served rates with 0, 1, 8 and 64 adapters, queries and values changed.

Each number of adapters is a server of its own on core 0; windows of load alternate between them. The rate without any
adapter is the baseline. Two ratios are given, as medians of the rounds: answers per CPU second of the server, which
other processes disturb little and which is held against the target, and answers per second by the clock.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from _common import closed_loop, ids_request, median, pin_load, report, serve, verdict
from _zoo import minilm_zoo, open_zoo
from headstock.adapter import Pair, adapter_artefact, target_weights
from headstock.backbone.restore import restore
from headstock.digest import Digest
from headstock.names import Reference
from headstock.plugin_host import open_host
from headstock.records import Edge, HeadIdentity, ModelIdentity, Publication, artefact_of

LENGTH, ROUNDS, RANK, COUNTS, SECONDS = 32, 5, 8, (0, 1, 8, 64), 2.5


def add_adapted(home: Path, count: int, classes: int = 10) -> list[str]:
    """Publish `plain` and `count` models with random adapters; their numbers do not matter to speed."""
    from safetensors.numpy import save

    names = ["plain", *(f"adapted-{i:02d}" for i in range(count))]
    with open_zoo(home) as catalogue, catalogue.writing("benchmark"):
        backbone = Digest(catalogue.version(Reference("minilm")).subject)
        module = restore(catalogue, open_host(catalogue.settings), backbone, "minilm").module
        ends = ("self.query", "self.value")
        weights = target_weights(module, [n for n, _ in module.named_modules() if n.endswith(ends)])
        graph: Digest | None = None
        for seed, name in enumerate(names):
            generator = np.random.default_rng(seed)
            artefacts, edges, adapter = [], [], None
            if seed:
                pairs = {
                    n: Pair(*(generator.normal(size=s).astype(np.float32) * 0.01 for s in ((i, RANK), (RANK, o))))
                    for n, (i, o) in ((n, w.shape) for n, w in weights.items())
                }
                made = adapter_artefact(catalogue, backbone, pairs, weights, graph=graph)
                graph = made.files["graph"]
                artefacts, edges, adapter = [made], [Edge(made.digest, "adapter_of", backbone)], made.digest
            weight = generator.normal(size=(384, classes)).astype(np.float32)
            blob = catalogue.store.put_bytes(save({"weight": weight, "bias": np.zeros(classes, np.float32)}))
            post = {"kind": "classification", "labels": [f"class-{c}" for c in range(classes)]}
            identity = HeadIdentity(
                "text-classification", backbone, "mean", "linear", blob, 384, classes, post, adapter
            )
            head = artefact_of("head", identity.to_json(), {"parameters": blob})
            model = artefact_of("model", ModelIdentity(backbone, head.digest, adapter).to_json())
            edges.append(Edge(head.digest, "head_on", backbone))
            catalogue.publish(Publication(name, "model", model.digest, [*artefacts, head, model], edges))
    return names


def main() -> int:
    """Measure, print, return 0 if the target is met."""
    pin_load()
    with minilm_zoo() as home, ExitStack() as stack:
        plain, *adapted = add_adapted(home, max(COUNTS))
        used = {count: adapted[:count] or [plain] for count in COUNTS}
        servers = {c: stack.enter_context(serve(home, "--models", ",".join(used[c]))) for c in COUNTS}
        requests = {c: [ids_request(used[c][i % len(used[c])], LENGTH, i) for i in range(64)] for c in COUNTS}
        for count, server in servers.items():
            closed_loop(server.address, requests[count], 32, 1.0)
        loads = {count: [] for count in COUNTS}  # type: ignore[var-annotated]
        paid = {count: [] for count in COUNTS}  # type: ignore[var-annotated]
        for _ in range(ROUNDS):
            for count, server in servers.items():
                before = server.cpu_seconds()
                load = closed_loop(server.address, requests[count], 32, SECONDS)
                loads[count].append(load)
                paid[count].append(load.answers / (server.cpu_seconds() - before))
        memory = {count: server.pss_mb() for count, server in servers.items()}
    if errors := sum(load.errors for group in loads.values() for load in group):
        raise SystemExit(f"{errors} requests failed")
    rate = {c: median(paid[c]) for c in COUNTS}
    by_cpu = {c: median([mine / none for none, mine in zip(paid[0], paid[c], strict=True)]) for c in COUNTS}
    by_clock = {c: median([m.rate / o.rate for o, m in zip(loads[0], loads[c], strict=True)]) for c in COUNTS}
    p50 = {c: median([load.p50_ms for load in loads[c]]) for c in COUNTS}
    report(
        f"adapters of rank {RANK} on MiniLM, {LENGTH} tokens, 32 callers",
        ["adapters", "answers / CPU s", "/ none", "by the clock", "p50 ms", "resident MB"],
        [
            [c, f"{rate[c]:.1f}", f"{by_cpu[c]:.3f}", f"{by_clock[c]:.3f}", f"{p50[c]:.1f}", f"{memory[c]:.0f}"]
            for c in COUNTS
        ],
        {
            "answers_per_cpu_second": rate,
            "ratio_by_cpu_time": by_cpu,
            "ratio_by_the_clock": by_clock,
            "rounds_by_cpu_time": paid,
            "memory_mb": memory,
        },
    )
    return 0 if verdict("64 adapters / none, by CPU time", by_cpu[64], 0.88) else 1


if __name__ == "__main__":
    sys.exit(main())
