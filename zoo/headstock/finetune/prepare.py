"""All that is checked before a fine-tune costs time: name, recipe, data, split, targets, backbone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from headstock.digest import Digest, short
from headstock.errors import AlreadyExists, FailedPrecondition, InvalidInput, NotFound
from headstock.finetune.data import Table
from headstock.finetune.dataset import Dataset, read_dataset
from headstock.finetune.plan import input_role
from headstock.finetune.recipe import Recipe
from headstock.finetune.split import Split, split_rows
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
        return Targets(self.targets.values[np.array(rows)], self.targets.labels, self.targets.extra)


def prepare(
    catalogue: Catalogue, host: PluginHost, recipe: Recipe, table: Table, name: str, say: Callable[[str], None]
) -> Prepared:
    """Check everything that can be checked now; see `fine_tune` for what is raised. `say` hears what is unusual."""
    _check_free(catalogue, name)
    recipe.strategy.require_frozen()
    if table.sha256 != recipe.data.sha256:
        raise FailedPrecondition(
            f"{table.name!r} (sha256 {short(table.sha256)}) is not the file of the recipe, "
            f"{recipe.data.name!r} (sha256 {short(recipe.data.sha256)})",
            fix="the recipe's own file, or --new-data to train the same recipe on this one",
        )
    head_type = host.head_type(recipe.head.type)
    _check_options(head_type, recipe)
    dataset = read_dataset(table, recipe.data.columns, input_role(head_type), head_type.columns)
    targets = head_type.encode(dataset.columns)
    split = split_rows(recipe.split, table, dataset.samples, dataset.columns.get("label"))
    _tell_split(split, say)
    backbone = _load_backbone(catalogue, recipe)
    if backbone.spec.kind != head_type.modality:
        raise InvalidInput(
            f"head type {head_type.name!r} is for {head_type.modality}, but backbone {recipe.backbone.name!r} "
            f"reads {backbone.spec.kind}",
            fix="headstock heads",
        )
    return Prepared(recipe, table, head_type, backbone, dataset, split, targets)


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


def _tell_split(split: Split, say: Callable[[str], None]) -> None:
    if split.duplicates:
        say(f"{split.duplicates} rows share their text with another row; each text is kept on one side")
    if split.moved:
        say(f"{split.moved} validation rows are also training rows; they validate nothing and were moved there")
    if split.unused:
        say(f"{split.unused} rows of the test part are left untouched")
