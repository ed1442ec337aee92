"""The control of a run: the same head, for as long, on the backbone as it was; the rest is the backbone's own gain."""

from __future__ import annotations

from dataclasses import replace

from headstock.backbone.restore import Restored
from headstock.finetune import loop
from headstock.finetune.checkpoint import State
from headstock.finetune.recipe import Recipe
from headstock.finetune.strategy import FEATURE_EXTRACTION, Pace, Strategy, built_in
from headstock.objectives.exercise import Measured
from headstock.objectives.posed import pose
from headstock.objectives.prepare import Prepared


def head_alone(prepared: Prepared, restored: Restored) -> Measured:
    """What a head reaches on the held-out pieces when `restored`, the backbone of before, stays frozen."""
    recipe = prepared.recipe.model_copy(update={"strategy": frozen(prepared.recipe)})
    posed = pose(replace(prepared, recipe=recipe), restored)
    head = posed.head(recipe.seed)
    loop.train(posed.job(recipe), head, State(), lambda state: None)
    return posed.exercise.measure(head)


def frozen(recipe: Recipe) -> Strategy:
    """As many epochs as the recipe's strategy has at most, at its head's last rate and schedule, and nothing live."""
    last = recipe.strategy.phases[-1]
    pace = Pace(epochs=recipe.strategy.epochs, learning_rate=last.learning_rate, schedule=last.schedule)
    return built_in(FEATURE_EXTRACTION, pace)
