"""All that is checked before a fine-tune costs time: name, recipe, data, split, targets, backbone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headstock.data.dataset import Dataset, data_digest, read_dataset
from headstock.data.roles import input_roles, require_modality
from headstock.data.slips import contradictions, label_warnings
from headstock.data.split import Split, split_rows
from headstock.data.split_choice import ColumnSplit, RandomSplit
from headstock.data.table import Table
from headstock.digest import Digest, short
from headstock.errors import AlreadyExists, FailedPrecondition, InvalidInput, NotFound
from headstock.finetune.lesson import Lesson
from headstock.finetune.parent import Parent, parent_of
from headstock.finetune.reading import contexts
from headstock.finetune.recipe import Recipe
from headstock.finetune.rehearsal import Rehearsal, joined, open_rehearsal, with_replayed
from headstock.hookspecs import HeadType, Targets
from headstock.names import check_name
from headstock.records import Edge

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
    parent: Parent | None = None
    """The model that the run goes on from."""
    past: Rehearsal | None = None
    """What that was trained on, where it is at hand."""
    lesson: Lesson | None = None
    """What the recipe's teacher answers."""

    @property
    def replayed(self) -> int:
        """Training rows that are the parent's."""
        replay = self.recipe.parent and self.recipe.parent.replay
        return replay.rows if replay else 0

    def edges(self, head: Digest, adapter: Digest | None) -> list[Edge]:
        """Lineage of the run's head and adapter to the model that it goes on from."""
        return self.parent.edges(head, adapter, bool(self.replayed)) if self.parent else []

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
    replay: Table | None = None,
    lesson: Lesson | None = None,
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
        known=recipe.parent is not None or lesson is not None,
    )
    parent = parent_of(catalogue, recipe)
    past = _past(parent, recipe, head_type, replay)
    new, new_table = dataset, table
    if past is not None and recipe.parent is not None and recipe.parent.replay is not None:
        table, dataset = joined(table, dataset, past, past.draw(recipe.parent.replay.rows, recipe.seed))
    labels = parent.labels_with(head_type, dataset) if parent else lesson.labels if lesson else None
    targets = head_type.encode(dataset.columns, labels)
    if head_type.reads != "any":
        places = contexts(backbone.open_preprocessor(), head_type.reads, dataset.inputs)
        targets = head_type.align(targets, places)
    _tell_doubts(table, dataset, say)
    split = split_rows(recipe.split, new_table, new.samples, new.classes)
    split = with_replayed(split, dataset.samples, len(new_table)) if past is not None else split
    split = lesson.split(split, dataset.samples) if lesson is not None else split
    for note in table.notes:
        say(note)
    _tell_split(split, say)
    return Prepared(recipe, table, head_type, backbone, dataset, split, targets, parent, past, lesson)


def _past(parent: Parent | None, recipe: Recipe, head_type: HeadType, replay: Table | None) -> Rehearsal | None:
    wanted = recipe.parent is not None and recipe.parent.replay is not None
    if parent is not None and wanted and replay is not None:
        return open_rehearsal(parent, head_type, replay)
    if wanted:
        raise InvalidInput("the recipe replays rows of its parent, and they are not given", fix="--replay-data FILE")
    if replay is not None:
        raise InvalidInput(f"{replay.name!r} is given to be replayed, but the recipe replays nothing")
    return None


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
    if recipe.objective is not None:
        raise InvalidInput(
            f"the recipe has the objective {recipe.objective.name!r}: it makes a backbone, not a model",
            fix="headstock continue --recipe",
        )
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

    require_backbone(catalogue, recipe)
    return load_backbone(catalogue, Digest(recipe.backbone.digest))


def require_backbone(catalogue: Catalogue, recipe: Recipe) -> None:
    """Raise `NotFound` unless the catalogue has the recipe's backbone."""
    try:
        catalogue.artefact(Digest(recipe.backbone.digest))
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


def _tell_doubts(table: Table, dataset: Dataset, say: Callable[[str], None]) -> None:
    """What trains, but was probably not meant; told before a split that may fail because of it."""
    if dataset.classes is None:
        return
    for warning in label_warnings(table, dataset.classes, Counter(dataset.classes)):
        say(f"warning: {warning}")
    if (contradicting := contradictions(table, dataset.samples, dataset.classes)) is not None:
        say(f"warning: {contradicting}")


def _tell_split(split: Split, say: Callable[[str], None]) -> None:
    if split.duplicates:
        say(f"{split.duplicates} rows have the same input as another row; all rows of one input are kept on one side")
    if split.moved:
        say(f"{split.moved} validation rows are also training rows; they validate nothing and were moved there")
    if split.unused:
        say(f"{split.unused} rows of another part, or later copies of training rows, are left untouched")
