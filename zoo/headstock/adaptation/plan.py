"""From what a person asked of an adaptation to a recipe that spells everything, and back to what trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from headstock.adaptation.trainer import Settings
from headstock.data.columns import choose_columns
from headstock.data.dataset import data_digest
from headstock.data.roles import input_roles
from headstock.data.table import Table
from headstock.digest import short
from headstock.errors import FailedPrecondition, InvalidInput
from headstock.finetune.plan import Options, plan_recipe
from headstock.finetune.recipe import AdaptationChoice, DataChoice, Recipe
from headstock.finetune.strategy import Phase, Strategy
from headstock.names import Reference

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.plugin_host import PluginHost


def plan_adaptation(
    catalogue: Catalogue,
    host: PluginHost,
    table: Table,
    target: Table,
    backbone: Reference,
    head: str,
    options: Options,
    *,
    methods: Sequence[str],
    runs: int,
    settings: Settings,
) -> Recipe:
    """The recipe for adapting a head of type `head` on `backbone` from `table` to `target`.

    Each of `methods` runs with the seeds `options.seed` and the `runs - 1` after it. Raises as `plan_recipe` does.
    """
    recipe = plan_recipe(catalogue, host, table, backbone, head, replace(options, strategy="feature-extraction"))
    roles = input_roles(host.head_type(head))
    columns = {role: column for role, column in recipe.data.columns.items() if role in roles}
    if any(column not in target.columns for column in columns.values()):
        columns = choose_columns(target, list(roles), {})
    choice = AdaptationChoice(
        target=DataChoice(name=target.name, sha256=data_digest(target, columns), columns=columns),
        methods=tuple(methods),
        runs=runs,
        hidden=settings.hidden,
        strength=settings.strength,
    )
    # Adam is AdamW without decay.
    optimizer = recipe.optimizer.model_copy(update={"batch_size": settings.batch_size, "weight_decay": 0.0})
    stopping = recipe.stopping.model_copy(update={"patience": 0, "min_delta": 0.0})
    return recipe.model_copy(
        update={
            "strategy": _strategy(settings),
            "optimizer": optimizer,
            "stopping": stopping,
            "adaptation": choice,
        }
    )


def _strategy(settings: Settings) -> Strategy:
    phase = Phase(
        name="adapt",
        live=(),
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        backbone_rate=0.0,
        decay=1.0,
        schedule="constant",
    )
    return Strategy(
        name="adaptation",
        phases=(phase,),
        initial="pretrained",
        l2_sp=0.0,
        interpolation=1.0,
        lora_rank=0,
        lora_alpha=0,
    )


def settings_of(recipe: Recipe) -> Settings:
    """How every method of the recipe is trained."""
    choice, phase = choice_of(recipe), recipe.strategy.phases[0]
    return Settings(
        epochs=phase.epochs,
        batch_size=recipe.optimizer.batch_size,
        learning_rate=phase.learning_rate,
        hidden=choice.hidden,
        strength=choice.strength,
    )


def seeds_of(recipe: Recipe) -> range:
    """The seeds of each method's runs."""
    return range(recipe.seed, recipe.seed + choice_of(recipe).runs)


def choice_of(recipe: Recipe) -> AdaptationChoice:
    """The part of the recipe that only an adaptation has; raises `InvalidInput` for a recipe of another command."""
    if recipe.adaptation is None:
        raise InvalidInput(
            "the recipe is one of headstock fine-tune; it names no target", fix="headstock fine-tune --recipe"
        )
    return recipe.adaptation


def require_target(recipe: Recipe, target: Table) -> None:
    """Raise `FailedPrecondition` if `target` is not the recipe's."""
    wanted = choice_of(recipe).target
    found = data_digest(target, wanted.columns)
    if found != wanted.sha256:
        raise FailedPrecondition(
            f"{target.name!r} (sha256 {short(found)}) is not the target of the recipe, {wanted.name!r} "
            f"(sha256 {short(wanted.sha256)})",
            fix="the recipe's own target, or headstock adapt without --recipe",
        )
