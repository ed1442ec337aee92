"""From a model and new data to the recipe that goes on where the model's own stopped."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from headstock.data.split_choice import ColumnSplit, GroupSplit, RandomSplit, TimeSplit
from headstock.data.table import Table
from headstock.errors import InvalidInput
from headstock.finetune.parent import Parent, from_random, open_parent, require_fit, require_head, require_strategy
from headstock.finetune.plan import Options, checked_compute, plan_recipe
from headstock.finetune.recipe import ParentChoice, Recipe, ReplayChoice
from headstock.finetune.rehearsal import Rehearsal, open_rehearsal
from headstock.finetune.strategy import Phase, Strategy
from headstock.names import Reference

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.plugin_host import PluginHost

_PACE = {
    "epochs": "epochs",
    "backbone_epochs": "epochs",
    "learning_rate": "learning_rate",
    "backbone_rate": "backbone_rate",
    "schedule": "schedule",
}


def plan_continued(
    catalogue: Catalogue,
    host: PluginHost,
    table: Table,
    model: Reference,
    options: Options,
    said: Collection[str],
    *,
    head: str | None = None,
    backbone: str | None = None,
    replay: str | None = None,
    replay_data: Table | None = None,
) -> Recipe:
    """The recipe for going on with `model` on `table`.

    What `said` names is taken from `options`, everything else from the model's own recipe. `replay` is a share of the
    parent's training rows (`0.2`) or a number of them (`200`). Raises `FailedPrecondition` for another head type, tap
    or backbone than the model's, and for a `replay_data` that is not what it was trained on.
    """
    parent = open_parent(catalogue, model)
    require_head(parent, head, options.tap)
    if options.strategy == "scratch":
        # Known without loading the backbone, as its layer groups are not.
        raise from_random(parent, options.strategy)
    standing = Reference.parse(backbone) if backbone else Reference.parse(str(parent.version))
    inherited = options if parent.recipe is None else _inherited(parent.recipe, options, set(said), table)
    if "tap" not in said:
        inherited = replace(inherited, tap=parent.model.head.tap)
    # A strategy's groups cost loading the backbone, which the parent's own phases need not.
    planned = inherited if "strategy" in said else replace(inherited, strategy="feature-extraction")
    compute = options.compute if "compute" in said else parent.recipe.compute if parent.recipe is not None else None
    planned = replace(planned, compute=None)
    recipe = plan_recipe(catalogue, host, table, standing, head or parent.model.head.type, planned)
    require_fit(parent, recipe, backbone or str(parent.version), catalogue)
    if "strategy" not in said and parent.recipe is not None:
        recipe = recipe.model_copy(update={"strategy": _paced(parent.recipe.strategy, options, set(said))})
    require_strategy(parent, recipe.strategy)
    if compute is not None and ("compute" in said or recipe.strategy.live):
        recipe = recipe.model_copy(update={"compute": checked_compute(compute, recipe)})
    choice = ParentChoice(
        name=str(parent.version),
        digest=parent.version.subject,
        replay=_replay(host, parent, replay, replay_data),
    )
    if parent.recipe is not None and parent.recipe.backbone.digest == recipe.backbone.digest:
        recipe = recipe.model_copy(update={"backbone": parent.recipe.backbone})
    return recipe.model_copy(update={"parent": choice})


def _inherited(recipe: Recipe, options: Options, said: Collection[str], table: Table) -> Options:
    """`options` with the parent's settings in place of all that was not said."""
    columns = {role: column for role, column in recipe.data.columns.items() if column in table.columns}
    parent: dict[str, Any] = {
        "batch_size": recipe.optimizer.batch_size,
        "weight_decay": recipe.optimizer.weight_decay,
        "patience": recipe.stopping.patience,
        "min_delta": recipe.stopping.min_delta,
        "seed": recipe.seed,
        "cache": recipe.features.cache,
        "head_options": {name: str(value).lower() if isinstance(value, bool) else str(value)
                         for name, value in recipe.head.options.items()},
        "columns": columns,
        **_split(recipe.split, said, table),
    }  # fmt: skip
    merged = {key: value for key, value in parent.items() if key not in said}
    for key in ("columns", "head_options"):
        merged[key] = {**parent[key], **(getattr(options, key) if key in said else {})}
    return replace(options, **{f.name: merged[f.name] for f in fields(Options) if f.name in merged})


def _split(
    split: RandomSplit | ColumnSplit | GroupSplit | TimeSplit, said: Collection[str], table: Table
) -> dict[str, Any]:
    """The parent's kind of split, unless another was asked for or the new data has no such column."""
    own = {} if isinstance(split, ColumnSplit) else {"validation": split.fraction}
    asked = {"split_column", "group_column", "time_column"} & set(said)
    if asked or isinstance(split, RandomSplit) or split.column not in table.columns:
        return own
    kind = {"column": "split_column", "group": "group_column", "time": "time_column"}[split.kind]
    return {**own, kind: split.column}


def _paced(strategy: Strategy, options: Options, said: Collection[str]) -> Strategy:
    """The parent's phases at the pace that was said; from random weights nothing would go on."""
    phases = tuple(_phase(phase, options, said) for phase in strategy.phases)
    return Strategy.model_validate({
        **strategy.model_dump(),
        "name": "full" if strategy.name == "scratch" else strategy.name,
        "initial": "pretrained",
        "phases": [phase.model_dump() for phase in phases],
    })  # fmt: skip


def _phase(phase: Phase, options: Options, said: Collection[str]) -> Phase:
    # Stages of one epoch, as gradual unfreezing has them, keep it.
    mine = {"learning_rate", "schedule"} | ({"backbone_rate"} if phase.live else {"epochs"})
    mine |= {"backbone_epochs"} if phase.live and phase.epochs > 1 else set()
    return phase.model_copy(update={_PACE[key]: getattr(options, key) for key in sorted(mine & set(said))})


def _replay(host: PluginHost, parent: Parent, amount: str | None, table: Table | None) -> ReplayChoice | None:
    if table is None:
        if amount is not None:
            raise InvalidInput(
                "--replay needs the data that the parent was trained on: the catalogue keeps its digest, not its rows",
                fix=f"--replay {amount} --replay-data FILE",
            )
        return None
    past = open_rehearsal(parent, host.head_type(parent.model.head.type), table)
    rows = 0 if amount is None else _rows(amount, past)
    return ReplayChoice(name=table.name, sha256=past.recipe.data.sha256, rows=rows)


def _rows(amount: str, past: Rehearsal) -> int:
    """`0.2` is a share of the parent's training rows, `200` a number of them."""
    most = len(past.split.train)
    try:
        rows = int(amount) if amount.isdigit() else max(1, round(float(amount) * most))
        fits = float(amount) > 0 and rows <= most
    except (ValueError, OverflowError):
        rows, fits = 0, False
    if not fits:
        raise InvalidInput(
            f"--replay {amount} is neither a share such as 0.2 nor a number of rows from 1 to {most}, the parent's "
            "training rows",
            fix="--replay 0.2",
        )
    return rows
