"""What a report is asked for after its run: models that share otherwise, the same from scratch, prices anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headstock.errors import FailedPrecondition, NotFound
from headstock.records import Version
from headstock.report.price import STRATEGIES, Kind, company
from headstock.report.sharing import base_of, price, siblings

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.finetune import Outcome, Recipe, Table
    from headstock.finetune.observer import Observer
    from headstock.plugin_host import PluginHost
    from headstock.preprocess import Row

_LOOKED_AT = 64


def with_siblings(catalogue: Catalogue, report: Mapping[str, Any]) -> dict[str, Any]:
    """The report with those ways to share that were trained since, each with the costs that its own run measured."""
    shared = report.get("price")
    if not shared or all(row["figure"] for row in shared["rows"]):
        return dict(report)
    later: dict[str, Any] = {}
    for version, other in siblings(catalogue, report):
        for row in (other.get("price") or {}).get("rows", ()):
            if row["model"] == version.name and row["figure"]:
                later.setdefault(row["kind"], {**row, "model": str(version)})
    rows = [row if row["figure"] else later.get(row["kind"], row) for row in shared["rows"]]
    return {**report, "price": {**shared, "rows": rows}}


def with_price(
    catalogue: Catalogue,
    host: PluginHost,
    version: Version,
    report: Mapping[str, Any],
    table: Table,
    watcher: Observer,
) -> dict[str, Any]:
    """The report with its price of sharing measured now; trains what is missing as `NAME-lora` and `NAME-full`.

    Raises `FailedPrecondition` if `table` is not the version's own data.
    """
    recipe = _recipe(catalogue, version)
    shared = _section(catalogue, host, version, report, table, recipe)
    for row in shared["rows"]:
        kind: Kind = row["kind"]
        if row["figure"] is None or row["model"] == "linear probe":
            _train(catalogue, host, recipe, table, version.name, STRATEGIES[kind], watcher)
    return {**report, "price": _section(catalogue, host, version, report, table, recipe)}


def with_scratch(
    catalogue: Catalogue,
    host: PluginHost,
    version: Version,
    report: Mapping[str, Any],
    table: Table,
    watcher: Observer,
) -> dict[str, Any]:
    """The report with a row for the same recipe from random weights, trained as `NAME-scratch` without a time limit.

    The verdict of the version stays what it was when it was published. Raises `FailedPrecondition` before anything is
    trained if there is none, and for a distilled model, whose rows have a teacher's labels.
    """
    transfer, recipe = report.get("transfer"), _recipe(catalogue, version)
    if not transfer or recipe.teacher is not None:
        why = (
            "has no verdict that a row could stand beside" if not transfer else "is about rows with a teacher's labels"
        )
        raise FailedPrecondition(
            f"the report of {version} {why}; nothing was trained",
            fix=f"headstock fine-tune --strategy scratch --data {table.name} --name {version.name}-scratch",
        )
    outcome = _train(catalogue, host, recipe, table, version.name, "scratch", watcher)
    metric = next(m for m in outcome.report["metrics"] if m["name"] == transfer.get("figure", "accuracy"))
    row = {**metric, "name": "from scratch", "target_only": True, "seconds": outcome.report["seconds"]["total"]}
    scores = [score for score in transfer["accuracies"] if score["name"] != "from scratch"]
    missing = {name: why for name, why in transfer["not_measured"].items() if name != "from scratch"}
    return {**report, "transfer": {**transfer, "accuracies": [*scores, row], "not_measured": missing}}


def _section(
    catalogue: Catalogue,
    host: PluginHost,
    version: Version,
    report: Mapping[str, Any],
    table: Table,
    recipe: Recipe,
) -> dict[str, Any]:
    if not siblings(catalogue, report):
        raise FailedPrecondition(
            f"the report of {version} does not say which rows validated it, so nothing can be compared with it",
            fix=f"headstock fine-tune --recipe {version} --data {table.name} --name {version.name}",
        )
    base = base_of(catalogue, report)
    return price(catalogue, report, base, company(base, _rows(host, table, recipe, base)), None, str(version))


def _rows(host: PluginHost, table: Table, recipe: Recipe, base: Any) -> list[Row]:
    from headstock.data.dataset import read_dataset
    from headstock.data.roles import input_roles
    from headstock.finetune.reading import preprocessed

    head = host.head_type(recipe.head.type)
    dataset = read_dataset(table, recipe.data.columns, input_roles(head), head.columns, head.optional, ())
    return preprocessed(base.open_preprocessor(), head.reads, dataset.inputs, range(min(_LOOKED_AT, len(table))))


def _train(
    catalogue: Catalogue,
    host: PluginHost,
    recipe: Recipe,
    table: Table,
    name: str,
    strategy: str,
    watcher: Observer,
) -> Outcome:
    from headstock.backbone.restore import restore
    from headstock.digest import Digest
    from headstock.finetune import fine_tune
    from headstock.finetune.strategy import built_in
    from headstock.report.assessment import Assessment
    from headstock.report.scratch import pace_of

    groups = restore(catalogue, host, Digest(recipe.backbone.digest), recipe.backbone.name).group_names
    chosen = built_in(strategy, pace_of(recipe.strategy, strategy), groups)
    # Compared are ways to learn this data alone: a parent's weights and rows are no part of that.
    other = recipe.model_copy(update={"strategy": chosen, "parent": None})
    target = f"{name}-{'head' if strategy == 'feature-extraction' else strategy}"
    watcher.say(f"training {target} with --strategy {strategy}")
    return fine_tune(
        catalogue, host, other, table, target, observer=watcher, assessment=Assessment("quick", price=False)
    )


def _recipe(catalogue: Catalogue, version: Version) -> Recipe:
    from headstock.finetune import Recipe

    blob = catalogue.artefact(version.subject).files.get("recipe")
    if blob is None:
        raise NotFound(f"{version} has no recipe that could be trained otherwise", fix="headstock list --kind model")
    recipe = Recipe.from_json(catalogue.store.read_json(blob), f"recipe of {version}")
    if recipe.adaptation is not None:
        raise FailedPrecondition(f"{version} was adapted; nothing that is trained on labels alone stands beside it")
    return recipe
