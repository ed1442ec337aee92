"""What a run without labels measured, as data: held-out loss and figure before and after, and the probe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from headstock.finetune.report import environment
from headstock.hookspecs import Metric
from headstock.metrics.intervals import bootstrap, divided

if TYPE_CHECKING:
    from headstock.finetune.checkpoint import State
    from headstock.finetune.new_backbone import NewBackbone
    from headstock.objectives.exercise import Measured
    from headstock.objectives.prepare import Prepared


@dataclass(frozen=True, slots=True)
class Learned:
    """The loop's result with what the report needs."""

    before: Measured
    """Of the backbone as it was, with the fresh head."""
    alone: Measured | None
    """Of the backbone as it was, with a head that learned for as long; None if nobody asked."""
    after: Measured
    state: State
    pieces: int
    """What the table's rows were cut into."""
    validation: int
    """Pieces that are held out."""
    parameters: int
    """Of the backbone."""


def build_report(
    prepared: Prepared, learned: Learned, made: NewBackbone, probe: Mapping[str, Any] | None, seconds: float
) -> dict[str, Any]:
    """All of it, JSON values only."""
    recipe, split = prepared.recipe, prepared.split
    return {
        "format": 1,
        "objective": {"name": recipe.head.type, "options": dict(prepared.choice.options), "tap": recipe.head.tap},
        "strategy": recipe.strategy.name,
        "seed": recipe.seed,
        "input": prepared.objective.modality,
        "backbone": {"name": recipe.backbone.name, "digest": recipe.backbone.digest, "tap": recipe.head.tap},
        "made": {"family": made.servable.identity.family, "digest": made.digest, "parameters": learned.parameters},
        "data": {
            "name": prepared.table.name,
            "sha256": recipe.data.sha256,
            "rows": len(prepared.table),
            "train": len(split.train),
            "validation": len(split.validation),
            "pieces": learned.pieces,
        },
        "held_out": _held_out(prepared, learned),
        "probe": None if probe is None else dict(probe),
        "epochs": {"run": len(learned.state.history), "best": learned.state.best_epoch},
        "history": list(learned.state.history),
        "seconds": {"total": round(seconds, 3)},
        "recipe": recipe.digest,
        "environment": environment(),
    }


def summary(prepared: Prepared, report: Mapping[str, Any]) -> dict[str, Any]:
    """What `show` prints of that."""
    held_out, recipe = report["held_out"], prepared.recipe
    found = {
        "source": f"{recipe.head.type} on {prepared.table.name}, from {recipe.backbone.name}",
        "family": report["made"]["family"],
        "parameters": report["made"]["parameters"],
        "objective": recipe.head.type,
        "strategy": recipe.strategy.name,
        "data": prepared.table.name,
        "held_out_loss": {
            name: round(held_out[name]["loss"]["value"], 4) for name in ("before", "after") if name in held_out
        },
        "recipe": report["recipe"],
    }
    if report["probe"] is not None:
        linear = report["probe"]["linear"]
        found["probe"] = {
            "data": report["probe"]["data"],
            **{name: round(linear[name]["value"], 4) for name in ("before", "after")},
            "verdict": linear["verdict"],
        }
    return found


def _held_out(prepared: Prepared, learned: Learned) -> dict[str, Any]:
    """Before, with the head alone where that was asked for, and after; differences are paired over the pieces."""
    seed, figure = prepared.recipe.seed, prepared.objective.figure
    parts = {"before": learned.before, "head_alone": learned.alone, "after": learned.after}
    found: dict[str, Any] = {
        name: {metric.name: _figure(metric) for metric in measured.metrics(figure, seed)}
        for name, measured in parts.items()
        if measured is not None
    }
    found["drop"] = _figure(_drop(learned.before, learned.after, seed))
    if learned.alone is not None:
        found["gain"] = _figure(_drop(learned.alone, learned.after, seed))
    found["pieces"] = learned.validation
    return found


def _drop(first: Measured, second: Measured, seed: int) -> Metric:
    """Loss of the first minus that of the second on the same views, with a bootstrap interval over pieces."""
    stacked = np.stack([first.losses, first.counts, second.losses, second.counts], axis=1)

    def figure(weights: Any) -> Any:
        sums = weights @ stacked
        return divided(sums[:, 0], sums[:, 1]) - divided(sums[:, 2], sums[:, 3])

    return bootstrap("drop", figure, len(stacked), seed)


def _figure(metric: Metric) -> dict[str, float]:
    values = {"value": metric.value, "low": metric.low, "high": metric.high}
    return {name: value if math.isfinite(value) else 0.0 for name, value in values.items()}
