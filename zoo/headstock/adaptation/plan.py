"""From what a person asked of an adaptation to a recipe that spells everything, and back to what trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from headstock.adaptation.settings import Settings
from headstock.adaptation.task import METHODS
from headstock.data.columns import choose_columns
from headstock.data.dataset import data_digest
from headstock.data.roles import input_roles
from headstock.data.table import Table
from headstock.digest import short
from headstock.errors import FailedPrecondition, InvalidInput
from headstock.finetune.plan import Options, plan_recipe
from headstock.finetune.prepare import check_recipe
from headstock.finetune.recipe import AdaptationChoice, DataChoice, Recipe
from headstock.names import Reference

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.hookspecs import HeadType
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
    return recipe.model_copy(
        update={
            "strategy": settings.strategy,
            "optimizer": settings.optimizer,
            "stopping": settings.stopping,
            "adaptation": choice,
        }
    )


def settings_of(recipe: Recipe) -> Settings:
    """How every method of the recipe is trained; raises `InvalidInput` for a recipe that would change the backbone."""
    choice = choice_of(recipe)
    if recipe.strategy.live:
        raise InvalidInput(
            f"an adaptation learns on frozen features, and the recipe lets {', '.join(recipe.strategy.live)} learn",
            fix="live = [] in every phase",
        )
    if recipe.stopping.patience:
        raise InvalidInput(
            f"the recipe has patience = {recipe.stopping.patience}, and no target label says when an adaptation gets "
            "worse",
            fix="patience = 0",
        )
    return Settings(recipe.strategy, recipe.optimizer, recipe.stopping, choice.hidden, choice.strength, recipe.seed)


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


def check_adaptation(
    catalogue: Catalogue, host: PluginHost, recipe: Recipe, table: Table | None, target: Table | None
) -> None:
    """Raise unless this catalogue and these plugins can run `recipe`, and what is given of its data sets is its own."""
    choice = choice_of(recipe)
    settings_of(recipe)
    if strange := [method for method in choice.methods if method not in METHODS]:
        raise InvalidInput(f"there is no adaptation method {strange[0]!r}; expected some of {', '.join(METHODS)}")
    check_recipe(catalogue, host, recipe, table)
    require_head_type(host.head_type(recipe.head.type))
    if target is not None:
        require_target(recipe, target)


def require_head_type(head_type: HeadType) -> None:
    """Raise `InvalidInput` for one that does not give a whole sample a class."""
    if head_type.task != "classification" or head_type.per_position:
        raise InvalidInput(
            f"head type {head_type.name!r} cannot be adapted; expected a classification of whole samples",
            fix="--head text-classification, image-classification, audio-classification or tabular-classification",
        )


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
