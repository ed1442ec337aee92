"""CPU time of licence verdicts by themselves: a long lineage, a large catalogue, and what a request pays for them."""

from __future__ import annotations

import sys
import time
import timeit
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

from _common import report, verdict
from headstock.digest import Digest
from headstock.licences import Context, Policy
from headstock.licences.composition import judge, judge_many
from headstock.licences.facts import Facts
from headstock.records import Evidence
from headstock_server.repository.ruling import Ruling, Rulings, Uses
from headstock_server.transport.tenant import TENANT, tenant_of

NODES, MODELS, BACKBONES, TIMES, REQUESTS = 10_000, 10_000, 100, 3, 1_000_000
LIMITS = {"graph_s": 1.0, "models_s": 1.0, "request_us": 5.0}
"""CPU seconds, CPU seconds, CPU microseconds; none may be more."""

_LICENCES = ("Apache-2.0", "MIT", "CC-BY-NC-4.0", "LicenseRef-headstock-llama-3.2")
_COMMERCIAL = Context(purpose="commercial", audience="public")


def long_lineage(nodes: int) -> Facts:
    """A chain of generations, each trained on a data set of its own; every one is licensed."""
    half = nodes // 2
    artefacts: dict[str, dict[str, object]] = {}
    edges = [(f"b{i}", "trained_on", f"s{i}") for i in range(half)]
    edges += [(f"b{i}", "finetuned_from", f"b{i + 1}") for i in range(half - 1)]
    for i in range(half):
        artefacts[f"b{i}"] = {"kind": "backbone", "family": f"b{i}"}
        artefacts[f"s{i}"] = {"kind": "dataset", "name": f"s{i}"}
    said = [Evidence(Digest(name), "licence", "Apache-2.0", "card", f"hf:t/{name}@c") for name in artefacts]
    return Facts.build(artefacts, edges, said)


def many_models(models: int, backbones: int) -> tuple[Facts, list[Digest]]:
    """Models spread over backbones of four licences."""
    artefacts: dict[str, dict[str, object]] = {
        f"b{i}": {"kind": "backbone", "family": "f", "inputs": [{"name": "input_ids"}]} for i in range(backbones)
    }
    said = [
        Evidence(Digest(f"b{i}"), "licence", _LICENCES[i % len(_LICENCES)], "card", "hf:o/n@c")
        for i in range(backbones)
    ]
    for i in range(models):
        backbone = f"b{i % backbones}"
        artefacts[f"h{i}"] = {"kind": "head", "type": "t", "backbone": backbone}
        artefacts[f"m{i}"] = {"kind": "model", "backbone": backbone, "head": f"h{i}", "adapter": None}
    edges = [(f"h{i}", "head_on", f"b{i % backbones}") for i in range(models)]
    return Facts.build(artefacts, edges, said), [Digest(f"m{i}") for i in range(models)]


def measured() -> dict[str, float]:
    """Figure to CPU time: the best of some tries, in the units of `LIMITS`."""
    policy = replace(Policy.default(), context=_COMMERCIAL)
    chain = long_lineage(NODES)
    facts, subjects = many_models(MODELS, BACKBONES)

    def recompute() -> None:
        # With proof ids, as a server wants them when the policy changes.
        for found in judge_many(facts, subjects, policy.context, policy).values():
            assert found.proof_id

    return {
        "graph_s": _best(lambda: judge(chain, Digest("b0"), _COMMERCIAL, policy)),
        "models_s": _best(recompute),
        "request_us": _per_request() * 1e6,
    }


def show(found: dict[str, float]) -> bool:
    """Print the figures beside their limits; True if all are kept."""
    words = {
        "graph_s": f"one verdict over a lineage of {NODES} artefacts, s",
        "models_s": f"verdicts and proof ids of {MODELS} models, s",
        "request_us": "what a request pays for a ruling that warns, us",
    }
    rows = [[words[name], f"{value:.3g}", f"{LIMITS[name]:g}"] for name, value in found.items()]
    report("licence verdicts, CPU time", ["figure", "CPU", "at most"], rows, found)
    kept = [verdict(f"{words[n]} / limit", value / LIMITS[n], 1.0, at_most=True) for n, value in found.items()]
    return all(kept)


def _best(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(TIMES):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return min(seconds)


def _per_request() -> float:
    """CPU seconds from a call's metadata to the ruling for its tenant, less those of a loop without it."""
    ruling = Ruling("unknown", "why", "sha256:0", warning="the licence verdict is unknown")
    model = SimpleNamespace(caution=Rulings(Uses({f"t{n}": n % 3 for n in range(100)}), (ruling,) * 3))
    response = SimpleNamespace(licence_warning="")
    metadata = (("user-agent", "grpc-python"), (TENANT, "t42"))

    def asked() -> None:
        tenant = tenant_of(metadata)
        caution = None if model.caution is None else model.caution.of(tenant)
        if caution is not None:
            caution.check()
        if caution is not None:
            response.licence_warning = caution.warning

    def silent() -> None:
        return None

    best = {
        work.__name__: min(timeit.repeat(work, timer=time.process_time, number=REQUESTS, repeat=TIMES))
        for work in (asked, silent)
    }
    return (best["asked"] - best["silent"]) / REQUESTS


def main() -> int:
    """Measure, print, return 0 if every limit is kept."""
    return 0 if show(measured()) else 1


if __name__ == "__main__":
    sys.exit(main())
