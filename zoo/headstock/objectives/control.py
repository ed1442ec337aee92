"""The control of a run: the same head, for as long, on the backbone as it was; the rest is the backbone's own gain."""

from __future__ import annotations

from dataclasses import replace

from headstock.backbone.restore import Restored
from headstock.finetune import loop
from headstock.finetune.checkpoint import State
from headstock.finetune.recipe import Recipe
from headstock.finetune.strategy import FEATURE_EXTRACTION, Phase, Strategy
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
    strategy = recipe.strategy
    last = strategy.phases[-1]
    phase = Phase(
        name="head",
        live=(),
        epochs=strategy.epochs,
        learning_rate=last.learning_rate,
        backbone_rate=0.0,
        decay=1.0,
        schedule=last.schedule,
    )
    return Strategy(
        name=FEATURE_EXTRACTION,
        phases=(phase,),
        initial="pretrained",
        l2_sp=0.0,
        interpolation=1.0,
        lora_rank=0,
        lora_alpha=0,
    )
