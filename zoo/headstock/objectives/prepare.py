"""All that is checked before a backbone goes on learning: name, recipe, data, split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headstock.data.artefact import dataset_artefact
from headstock.data.columns import ROW
from headstock.data.dataset import data_digest, read_inputs
from headstock.data.inputs import RawInputs
from headstock.data.split import Split, split_rows
from headstock.data.table import Table
from headstock.digest import Digest, short
from headstock.errors import AlreadyExists, FailedPrecondition, InvalidInput, NotFound
from headstock.finetune.made import Standing
from headstock.finetune.recipe import ObjectiveChoice, Recipe
from headstock.hookspecs import Objective
from headstock.names import check_name
from headstock.objectives.plan import chosen_objective, require_strategy
from headstock.records import Artefact
from headstock.servable import ServableBackbone, load_backbone

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.plugin_host import PluginHost


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that is decided before the first batch."""

    recipe: Recipe
    choice: ObjectiveChoice
    table: Table
    objective: Objective
    backbone: ServableBackbone
    inputs: RawInputs
    """One per row of the table."""
    split: Split
    """Of the table's rows."""

    def dataset(self) -> Artefact:
        """What the lineage says was learned from."""
        return dataset_artefact(self.table, self.recipe.data.sha256)


def prepare(
    catalogue: Catalogue, host: PluginHost, recipe: Recipe, table: Table, name: str, say: Callable[[str], None]
) -> Prepared:
    """Check everything that can be checked now; see `continue_backbone` for what is raised."""
    check_name(name)
    if (taken := catalogue.versions(name)[:1]) and taken[0].kind != "backbone":
        raise AlreadyExists(f"{name!r} is a {taken[0].kind}; this makes a backbone", fix="another --name")
    choice, objective, backbone = check_recipe(catalogue, host, recipe, table)
    roles = (ROW,) if objective.modality == "tabular" else (objective.modality,)
    inputs = read_inputs(table, recipe.data.columns, roles)
    split = split_rows(recipe.split, table, inputs.samples, None)
    for note in table.notes:
        say(note)
    if split.duplicates:
        say(f"{split.duplicates} rows have the same input as another row; all rows of one input are kept on one side")
    return Prepared(recipe, choice, table, objective, backbone, inputs, split)


def check_recipe(
    catalogue: Catalogue, host: PluginHost, recipe: Recipe, table: Table | None
) -> tuple[ObjectiveChoice, Objective, ServableBackbone]:
    """What the recipe names; raises unless it can be run here and `table`, where one is given, is its data."""
    choice = recipe.objective
    if choice is None:
        raise InvalidInput("the recipe has no objective: it makes a model", fix="headstock fine-tune --recipe")
    for section in ("compute", "parent", "teacher", "adaptation"):
        if getattr(recipe, section) is not None:
            raise InvalidInput(
                f"the recipe has both an objective and [{section}], which says nothing to an objective",
                fix=f"leave [{section}] out",
            )
    require_strategy(recipe.strategy.name)
    if not recipe.strategy.changes_backbone:
        raise InvalidInput(
            "no phase of the recipe's strategy lets the backbone learn, and nothing else is kept of an objective",
            fix="name layer groups in `live` of a phase, and lora_rank = 0",
        )
    try:
        backbone = load_backbone(catalogue, Digest(recipe.backbone.digest))
    except NotFound as error:
        raise NotFound(
            f"the catalogue has no backbone {short(recipe.backbone.digest)}, which the recipe calls "
            f"{recipe.backbone.name!r}",
            fix=f"headstock pull SOURCE --name {recipe.backbone.name}",
        ) from error
    objective = chosen_objective(host, choice.name, Standing(recipe.backbone.name, backbone))
    if strange := sorted(set(choice.options) ^ set(objective.default_options())):
        said = "has no option" if strange[0] in choice.options else "needs the option"
        known = sorted(objective.default_options())
        raise InvalidInput(f"objective {objective.name!r} {said} {strange[0]!r}; its options are {known}")
    backbone.identity.tap(recipe.head.tap)
    if table is not None:
        require_data(recipe, table)
    return choice, objective, backbone


def require_data(recipe: Recipe, table: Table) -> None:
    """Raise `FailedPrecondition` if `table` is not the recipe's data."""
    found = data_digest(table, recipe.data.columns)
    if found != recipe.data.sha256:
        raise FailedPrecondition(
            f"{table.name!r} (sha256 {short(found)}) is not the data of the recipe, "
            f"{recipe.data.name!r} (sha256 {short(recipe.data.sha256)})",
            fix="the recipe's own data, or --new-data to learn the same from this",
        )
