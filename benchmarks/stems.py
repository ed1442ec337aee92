"""What sharing a stem saves: MiniLMs whose last layers learned, served by one stem against served whole.

The parent and siblings with other weights in their last layers stand in one process twice: cut, so that the stem's
passes hold the rows of all, and whole. Rounds alternate between the two, and ratios are medians of the CPU time of one
thread, which other processes disturb little. `--layers` is how many of the six layers learned, `--rounds` how often.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from _common import median, report, verdict
from _zoo import minilm_zoo, open_zoo
from headstock.backbone.restore import restore
from headstock.catalogue import Catalogue
from headstock.digest import Digest
from headstock.finetune.new_backbone import admit, group_digests
from headstock.names import Reference
from headstock.plugin_host import open_host
from headstock.records import Edge, HeadIdentity, ModelIdentity, Publication, artefact_of
from headstock.servable import ServableModel, load_backbone, load_model
from headstock_server.engine import Engine, EngineOptions, LoadedModel
from headstock_server.engine.budget import OVERHEAD
from headstock_server.scheduler import Ticket
from headstock_server.scheduler.execution import execute
from headstock_server.scheduler.lane import Pass

SIBLINGS, CLASSES = 3, 10


def add_models(catalogue: Catalogue, layers: int) -> list[str]:
    """Publish `parent` on the pulled backbone and siblings whose last `layers` layers were moved at random."""
    import torch

    digest = Digest(catalogue.version(Reference("minilm")).subject)
    parent, host = load_backbone(catalogue, digest), open_host(catalogue.settings)
    names = ["parent", *(f"sibling-{i}" for i in range(SIBLINGS))]
    with catalogue.writing("benchmark"):
        for seed, name in enumerate(names):
            made = None
            if seed:
                restored = restore(catalogue, host, digest, "minilm")
                before = group_digests(restored)
                torch.manual_seed(seed)
                live = tuple(prefix for group in restored.groups[-layers:] for prefix in group.prefixes)
                with torch.no_grad():
                    for parameter_name, parameter in restored.module.named_parameters():
                        if parameter_name.startswith(live):
                            parameter.add_(torch.randn_like(parameter) * 1e-3)
                made = admit(catalogue, parent, restored, before, lambda step: None)
            _publish(catalogue, name, made.digest if made else digest, seed, made)
    return names


def _publish(catalogue: Catalogue, name: str, backbone: Digest, seed: int, made: object) -> None:
    from safetensors.numpy import save

    from headstock.finetune.new_backbone import NewBackbone

    weight = np.random.default_rng(seed).normal(size=(384, CLASSES)).astype(np.float32)
    blob = catalogue.store.put_bytes(save({"weight": weight, "bias": np.zeros(CLASSES, np.float32)}))
    post = {"kind": "classification", "labels": [f"class-{c}" for c in range(CLASSES)]}
    identity = HeadIdentity("text-classification", backbone, "mean", "linear", blob, 384, CLASSES, post)
    head = artefact_of("head", identity.to_json(), {"parameters": blob})
    model = artefact_of("model", ModelIdentity(backbone, head.digest).to_json())
    artefacts, edges, certificates = [head, model], [Edge(head.digest, "head_on", backbone)], []
    if isinstance(made, NewBackbone):
        artefacts.insert(0, made.admitted.artefact)
        edges.append(Edge(backbone, "finetuned_from", made.parent))
        certificates.append(made.certificate)
    catalogue.publish(Publication(name, "model", model.digest, artefacts, edges, certificates=certificates))


def opened(servables: Sequence[ServableModel]) -> tuple[Engine, list[LoadedModel]]:
    """An engine with these models in it."""
    engine = Engine(EngineOptions(token_budget=1 << 20))
    return engine, [engine.load(servable) for servable in servables]


def cpu_seconds(models: Sequence[LoadedModel], texts: Sequence[str]) -> float:
    """CPU time of answering text i by model i, in as few passes as their lanes allow."""
    lanes: dict[object, list[tuple[LoadedModel, str]]] = {}
    for model, text in zip(models, texts, strict=True):
        lanes.setdefault(model.backbone.lane, []).append((model, text))
    began = time.thread_time()
    for asked in lanes.values():
        tickets = [Ticket(model, model.backbone.preprocessor.rows([text])) for model, text in asked]
        backbone = asked[0][0].backbone
        execute(Pass(backbone.lane, backbone, tickets, [0] * len(tickets), [t.rows[0] for t in tickets]))
    return time.thread_time() - began


def main() -> int:
    """Measure, print, return 0 if sharing costs next to nothing and saves memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    with minilm_zoo() as home, open_zoo(Path(home)) as catalogue:
        names = add_models(catalogue, options.layers)
        servables = [load_model(catalogue, catalogue.version(Reference(name))) for name in names]
        if any(servable.backbone.stem is None for servable in servables):
            raise SystemExit("a backbone has no stem")
        cut_engine, cut = opened(servables)
        whole = [replace(s, backbone=replace(s.backbone, stem=None)) for s in servables]
        whole_engine, uncut = opened(whole)
        words = np.random.default_rng(0)
        ratios: dict[str, list[float]] = {}
        for _ in range(options.rounds):
            for what, which, texts in _cases(len(names), words):
                pair = [cpu_seconds([models[i] for i in which], texts) for models in (cut, uncut)]
                ratios.setdefault(what, []).append(pair[0] / pair[1])
        sizes = [
            sum(size - OVERHEAD for size in engine.memory.report().residents.values())
            for engine in (cut_engine, whole_engine)
        ]
    ratios["bytes of graphs and tokenizers"] = [sizes[0] / sizes[1]]
    found = {what: median(values) for what, values in ratios.items()}
    report(
        f"the parent and {SIBLINGS} MiniLMs whose last {options.layers} of 6 layers learned: one stem / served whole",
        ["case", "one stem / whole"],
        [[what, f"{ratio:.2f}"] for what, ratio in found.items()],
        {"layers": options.layers, "cpu_time_ratio": found, "rounds": ratios},
    )
    return 0 if verdict("one model alone, CPU time", found["8 rows of one model, 32 tokens"], 1.05, at_most=True) else 1


def _cases(count: int, words: np.random.Generator) -> list[tuple[str, list[int], list[str]]]:
    """What is asked: a name, the model of each row, and the texts."""

    def text(tokens: int) -> str:
        return " ".join(words.choice(["red", "house", "water", "green", "stone", "tree"], tokens - 2))

    everyone = list(range(count))
    same = text(32)
    return [
        ("8 rows of one model, 32 tokens", [1] * 8, [text(32) for _ in range(8)]),
        ("a row of each model, 8 tokens", everyone, [text(8) for _ in everyone]),
        ("a row of each model, 32 tokens", everyone, [text(32) for _ in everyone]),
        ("4 rows of each model, 32 tokens", everyone * 4, [text(32) for _ in everyone * 4]),
        ("the same 32 tokens to each model", everyone, [same for _ in everyone]),
    ]


if __name__ == "__main__":
    sys.exit(main())
