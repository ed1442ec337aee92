"""What an alignment measured: how often each half finds the other, before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstock.data.split import Split
from headstock.data.table import Table
from headstock.finetune.recipe import Recipe
from headstock.finetune.report import environment
from headstock.hookspecs import Targets
from headstock.metrics import wilson
from headstock.report.verdict import paired_gain
from headstock_multimodal.heads.towers import Tower

if TYPE_CHECKING:
    from headstock.finetune.new_backbone import NewBackbone
    from headstock_multimodal.align.pairs import Pairing

_DEPTHS = (1, 5, 10)
_WAYS = {"image_to_text": False, "text_to_image": True}
"""What is looked for, and whether it is the image."""


def measure(
    heads: tuple[Pairing, Pairing],
    features: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
    targets: Targets,
) -> dict[str, Any]:
    """Recall at 1, 5 and 10 both ways on held-out pairs, before and after, and the gain at 1 over both ways.

    `features` [pairs, image + text] are what the towers made of the pairs before and what they make of them after.
    """
    from headstock.finetune.loop import outputs_of
    from headstock_multimodal.align.pairs import found_within

    outputs = [np.asarray(outputs_of(head, seen)) for head, seen in zip(heads, features, strict=True)]
    found: dict[str, Any] = {"pairs": len(features[0])}
    first: list[list[npt.NDArray[np.bool_]]] = [[], []]
    for way, reverse in _WAYS.items():
        found[way] = {}
        for k in _DEPTHS:
            hits = [found_within(one, targets, k, reverse) for one in outputs]
            found[way][str(k)] = {name: _rate(one) for name, one in zip(("before", "after"), hits, strict=True)}
            if k == 1:
                first[0].append(hits[0])
                first[1].append(hits[1])
    gain = paired_gain(np.concatenate(first[1]), np.concatenate(first[0]))
    return {**found, "gain": {"value": gain.value, "low": gain.low, "high": gain.high, "verdict": gain.word}}


def build_report(
    recipe: Recipe,
    table: Table,
    towers: Mapping[str, Tower],
    split: Split,
    retrieval: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    seconds: float,
) -> dict[str, Any]:
    """All of it, JSON values only; both towers keep the same report."""
    return {
        "format": 1,
        "strategy": f"align: both projections, {_learned(recipe)}",
        "seed": recipe.seed,
        "input": "image and text",
        "backbone": {
            "name": " and ".join(tower.name for tower in towers.values()),
            "digest": recipe.backbone.digest,
            "tap": recipe.head.tap,
        },
        "towers": {role: {"name": tower.name, "digest": tower.digest} for role, tower in towers.items()},
        "data": {
            "name": table.name,
            "sha256": recipe.data.sha256,
            "rows": len(table),
            "train": len(split.train),
            "validation": len(split.validation),
        },
        "retrieval": dict(retrieval),
        "history": [dict(epoch) for epoch in history],
        "recipe": recipe.digest,
        "seconds": {"total": round(seconds, 3)},
        "environment": environment(),
    }


def _learned(recipe: Recipe) -> str:
    return f"of the towers {', '.join(recipe.strategy.live)}" if recipe.strategy.live else "towers frozen"


def summary(made: NewBackbone, parent: str, report: Mapping[str, Any]) -> dict[str, Any]:
    """What `show` prints of that."""
    identity, found = made.servable.identity, report["retrieval"]
    at_1 = [found[way]["1"] for way in _WAYS]
    return {
        "source": f"align on {report['data']['name']}, from {parent}",
        "family": identity.family,
        "space": identity.architecture["space"]["digest"],
        "data": report["data"]["name"],
        "recall_at_1": {
            name: round(sum(one[name]["value"] for one in at_1) / len(at_1), 4) for name in ("before", "after")
        },
        "verdict": found["gain"]["verdict"],
        "recipe": report["recipe"],
    }


def _rate(hits: npt.NDArray[np.bool_]) -> dict[str, float]:
    score = wilson("recall", int(hits.sum()), len(hits))
    return {"value": score.value, "low": score.low, "high": score.high}
