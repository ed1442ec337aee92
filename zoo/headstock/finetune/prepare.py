"""All that is checked before a fine-tune costs time: name, recipe, data, split, targets, backbone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headstock.data.dataset import Dataset, data_digest, read_dataset
from headstock.data.roles import input_roles, require_modality
from headstock.data.split import Split, split_rows
from headstock.data.split_choice import ColumnSplit, RandomSplit
from headstock.data.table import Table
from headstock.digest import Digest, short
from headstock.errors import AlreadyExists, FailedPrecondition, InvalidInput, NotFound
from headstock.finetune.reading import contexts
from headstock.finetune.recipe import Recipe
from headstock.hookspecs import HeadType, Targets
from headstock.names import check_name

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.plugin_host import PluginHost
    from headstock.servable import ServableBackbone


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that is decided before the first batch."""

    recipe: Recipe
    table: Table
    head_type: HeadType
    backbone: ServableBackbone
    dataset: Dataset
    split: Split
    targets: Targets
    """Of all rows of the table."""

    @property
    def train(self) -> Targets:
        """Targets of the training rows."""
        return self._part(self.split.train)

    @property
    def validation(self) -> Targets:
        """Targets of the validation rows."""
        return self._part(self.split.validation)

    def _part(self, rows: tuple[int, ...]) -> Targets:
        return self.targets.only(rows)


def prepare(
    catalogue: Catalogue,
    host: PluginHost,
    recipe: Recipe,
    table: Table,
    name: str,
    say: Callable[[str], None],
) -> Prepared:
    """Check everything that can be checked now; see `fine_tune` for what is raised. `say` hears what is unusual."""
    _check_free(catalogue, name)
    head_type, backbone = _parts(catalogue, host, recipe)
    _require_data(recipe, table)
    dataset = read_dataset(
        table,
        recipe.data.columns,
        input_roles(head_type),
        head_type.columns,
        head_type.optional,
        _no_feature(recipe, backbone),
    )
    targets = head_type.encode(dataset.columns)
    if head_type.reads != "any":
        places = contexts(backbone.open_preprocessor(), head_type.reads, dataset.inputs)
        targets = head_type.align(targets, places)
    split = split_rows(recipe.split, table, dataset.samples, dataset.classes)
    for note in table.notes:
        say(note)
    _tell_split(split, say)
    return Prepared(recipe, table, head_type, backbone, dataset, split, targets)


def check_recipe(catalogue: Catalogue, host: PluginHost, recipe: Recipe, table: Table | None) -> None:
    """Raise unless this catalogue and these plugins can run `recipe`, and `table`, where one is given, is its data.

    What the rows hold is looked at only by a fine-tune and by `headstock data check`.
    """
    _parts(catalogue, host, recipe)
    if table is not None:
        _require_data(recipe, table)
    if recipe.strategy.live:
        from headstock.backbone.restore import restore

        restored = restore(catalogue, host, Digest(recipe.backbone.digest), recipe.backbone.name)
        recipe.strategy.require_groups(restored.group_names, recipe.backbone.name)


def _parts(catalogue: Catalogue, host: PluginHost, recipe: Recipe) -> tuple[HeadType, ServableBackbone]:
    """What the recipe names, if it exists here and fits together."""
    head_type = host.head_type(recipe.head.type)
    _check_options(head_type, recipe)
    backbone = _load_backbone(catalogue, recipe)
    require_modality(head_type, backbone.spec.kind, recipe.backbone.name)
    _require_tap(head_type, backbone, recipe.head.tap)
    return head_type, backbone


def _require_data(recipe: Recipe, table: Table) -> None:
    found = data_digest(table, recipe.data.columns)
    if found != recipe.data.sha256:
        raise FailedPrecondition(
            f"{table.name!r} (sha256 {short(found)}) is not the data of the recipe, "
            f"{recipe.data.name!r} (sha256 {short(recipe.data.sha256)})",
            fix="the recipe's own data, or --new-data to train the same recipe on this",
        )


def _check_free(catalogue: Catalogue, name: str) -> None:
    # `publish` refuses it too, but only after the training.
    check_name(name)
    taken = catalogue.versions(name)
    if taken and taken[0].kind != "model":
        raise AlreadyExists(f"{name!r} is a {taken[0].kind}; a fine-tune makes a model", fix="another --name")


def _check_options(head_type: HeadType, recipe: Recipe) -> None:
    known, given = head_type.default_options(), recipe.head.options
    if strange := sorted(set(given) ^ set(known)):
        said = "has no option" if strange[0] in given else "needs the option"
        raise InvalidInput(f"head type {head_type.name!r} {said} {strange[0]!r}; its options are {sorted(known)}")


def _load_backbone(catalogue: Catalogue, recipe: Recipe) -> ServableBackbone:
    from headstock.servable import load_backbone

    try:
        return load_backbone(catalogue, Digest(recipe.backbone.digest))
    except NotFound as error:
        raise NotFound(
            f"the catalogue has no backbone {short(recipe.backbone.digest)}, which the recipe calls "
            f"{recipe.backbone.name!r}",
            fix=f"headstock pull SOURCE --name {recipe.backbone.name}",
        ) from error


def _require_tap(head_type: HeadType, backbone: ServableBackbone, name: str) -> None:
    """Raise `InvalidInput` if the head answers for every position and the tap has none, or the other way round."""
    tap = backbone.identity.tap(name)
    if tap.ragged == head_type.per_position:
        return
    fitting = [t.name for t in backbone.identity.taps if t.ragged == head_type.per_position]
    raise InvalidInput(
        f"tap {name!r} has shape {list(tap.shape)}: {'one vector per position' if tap.ragged else 'no positions'}, but "
        f"head type {head_type.name!r} answers once for every {'position' if head_type.per_position else 'row'}",
        fix=f"--tap {fitting[0]}" if fitting else None,
    )


def _no_feature(recipe: Recipe, backbone: ServableBackbone) -> tuple[str, ...]:
    """The column that decides the split, unless the backbone has it as a feature: people or dates may be both."""
    split = recipe.split
    if isinstance(split, RandomSplit):
        return ()
    features = {column["name"] for column in backbone.spec.options.get("columns", ())}
    return () if not isinstance(split, ColumnSplit) and split.column in features else (split.column,)


def _tell_split(split: Split, say: Callable[[str], None]) -> None:
    if split.duplicates:
        say(f"{split.duplicates} rows have the same input as another row; all rows of one input are kept on one side")
    if split.moved:
        say(f"{split.moved} validation rows are also training rows; they validate nothing and were moved there")
    if split.unused:
        say(f"{split.unused} rows of another part, or later copies of training rows, are left untouched")
