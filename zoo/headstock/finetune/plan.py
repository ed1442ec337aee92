"""From what a person asked for to a recipe that spells everything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headstock.data.columns import choose_columns
from headstock.data.dataset import data_digest
from headstock.data.roles import require_modality, roles_of
from headstock.data.split_choice import ColumnSplit, GroupSplit, RandomSplit, TimeSplit
from headstock.data.table import Table
from headstock.digest import Digest
from headstock.errors import InvalidInput
from headstock.finetune.recipe import (
    FORMAT,
    BackboneChoice,
    ComputeChoice,
    DataChoice,
    Features,
    HeadChoice,
    OptimizerChoice,
    Recipe,
    Scalar,
    Stopping,
)
from headstock.finetune.strategy import FEATURE_EXTRACTION, Pace, Schedule, built_in
from headstock.finetune.taps import default_tap
from headstock.finetune.typed_options import typed_options
from headstock.hookspecs import HeadType
from headstock.names import Reference
from headstock.records import BackboneIdentity, ModelIdentity, Version

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.plugin_host import PluginHost


@dataclass(frozen=True, slots=True)
class Options:
    """What a person may ask for; these defaults are written into the recipe."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Role to column, for those roles that are not to be guessed."""
    split_column: str | None = None
    """Column that says `train` or `validation`; None takes the data's own parts, and else draws at random."""
    group_column: str | None = None
    """Column whose equal values stand on one side."""
    time_column: str | None = None
    """Column of moments; the latest rows validate."""
    validation: float = 0.2
    """Share of rows that validate."""
    epochs: int = 60
    """Of a phase in which only the head learns."""
    backbone_epochs: int = 5
    """Of a phase in which the backbone learns."""
    batch_size: int = 32
    learning_rate: float = 3e-3
    """Of the head."""
    backbone_rate: float | None = None
    """Of the live layer group nearest to the output; None: what suits the strategy."""
    schedule: Schedule = "cosine"
    weight_decay: float = 1e-2
    patience: int = 15
    """Epochs without a better one before stopping; 0 never stops early."""
    min_delta: float = 0.0
    seed: int = 0
    tap: str | None = None
    """None: the head type's own default, or what means the same on this backbone."""
    head_options: Mapping[str, str] = field(default_factory=dict)
    """`NAME` to value as typed."""
    strategy: str = "feature-extraction"
    cache: bool = True
    compute: ComputeChoice | None = None
    """None: one process on the CPU, FP32, nothing compiled."""


def plan_recipe(
    catalogue: Catalogue, host: PluginHost, table: Table, backbone: Reference, head: str, options: Options
) -> Recipe:
    """The recipe for training a head of type `head` on `backbone`, or on the backbone of the model so named.

    Raises `NotFound` for an unknown backbone, head type or tap and `InvalidInput` for columns that do not fit.
    """
    version = catalogue.version(backbone)
    digest = standing_on(catalogue, version)
    head_type = host.head_type(head)
    identity = BackboneIdentity.from_json(catalogue.artefact(digest).identity)
    require_modality(head_type, _preprocess_kind(catalogue, digest), version.name)
    tap = identity.tap(options.tap or default_tap(head_type, identity.taps))
    split = choose_split(table, head_type, options)
    taken = [] if isinstance(split, RandomSplit) else [split.column]
    columns = choose_columns(table, roles_of(head_type), options.columns, taken)
    recipe = Recipe(
        format=FORMAT,
        seed=options.seed,
        backbone=BackboneChoice(name=version.name, digest=digest),
        head=HeadChoice(type=head, tap=tap.name, options=head_options(head_type, tap.width, options.head_options)),
        data=DataChoice(name=table.name, sha256=data_digest(table, columns), columns=columns),
        split=split,
        strategy=built_in(options.strategy, _pace(options), _groups(catalogue, host, digest, version.name, options)),
        optimizer=OptimizerChoice.adamw(weight_decay=options.weight_decay, batch_size=options.batch_size),
        stopping=Stopping(patience=options.patience, min_delta=options.min_delta),
        features=Features(cache=options.cache),
    )
    if options.compute is None:
        return recipe
    return recipe.model_copy(update={"compute": checked_compute(options.compute, recipe)})


def checked_compute(choice: ComputeChoice, recipe: Recipe) -> ComputeChoice:
    """How the backbone is trained; raises `InvalidInput` where there is nothing of it to train, or too few rows."""
    if not recipe.strategy.live:
        raise InvalidInput(
            "--device, --precision, --compile and --processes say how the backbone is trained, and strategy "
            f"{recipe.strategy.name!r} trains no part of it",
            fix="--strategy last-1, full, lora, ..., or leave them out",
        )
    from headstock.finetune.team import check_batches

    check_batches(choice, recipe.optimizer.batch_size)
    return choice


def _pace(options: Options) -> Pace:
    return Pace(
        epochs=options.epochs,
        backbone_epochs=options.backbone_epochs,
        learning_rate=options.learning_rate,
        backbone_rate=options.backbone_rate,
        schedule=options.schedule,
    )


def _groups(catalogue: Catalogue, host: PluginHost, digest: Digest, name: str, options: Options) -> tuple[str, ...]:
    """The backbone's layer groups; none where the strategy asks for none, as finding out costs loading it."""
    if options.strategy == FEATURE_EXTRACTION:
        return ()
    # A name that does not exist costs no wait.
    built_in(options.strategy, _pace(options))
    from headstock.backbone.restore import restore

    return restore(catalogue, host, digest, name).group_names


def head_options(head_type: HeadType, width: int, typed: Mapping[str, str]) -> dict[str, Scalar]:
    """All options of the head type on a tap of `width`, `typed` over defaults.

    Raises `InvalidInput` for a name or value that is wrong.
    """
    values = typed_options(f"head type {head_type.name!r}", "--head-option", head_type.default_options(), typed)
    return dict(head_type.resolve_options(width, values))


def split_columns(options: Options) -> dict[str, str]:
    """Option to column, of those that decide the split."""
    said = {
        "--split-column": options.split_column,
        "--group-column": options.group_column,
        "--time-column": options.time_column,
    }
    return {option: column for option, column in said.items() if column is not None}


def choose_split(
    table: Table, head_type: HeadType, options: Options
) -> RandomSplit | ColumnSplit | GroupSplit | TimeSplit:
    """The split that `options` ask for; raises `InvalidInput` if they ask for two."""
    asked = split_columns(options)
    if len(asked) > 1:
        raise InvalidInput(
            f"{' and '.join(asked)} each decide which rows validate; expected one of them",
            fix=f"leave {list(asked)[-1]} out",
        )
    for option, column in asked.items():
        table.column(column, option)
    if not 0 < options.validation < 1:
        raise InvalidInput(
            f"--validation {options.validation} is not a share; expected a number between 0 and 1",
            fix="--validation 0.2",
        )
    if options.group_column is not None:
        return GroupSplit(kind="group", column=options.group_column, fraction=options.validation, seed=options.seed)
    if options.time_column is not None:
        return TimeSplit(kind="time", column=options.time_column, fraction=options.validation)
    named = options.split_column or table.split_column
    if named is not None:
        return ColumnSplit(kind="column", column=named)
    stratified = "label" in head_type.columns and "label" not in head_type.optional
    return RandomSplit(kind="random", fraction=options.validation, stratified=stratified, seed=options.seed)


def standing_on(catalogue: Catalogue, version: Version) -> Digest:
    """The backbone itself, or the one that a model stands on: a head may share what another run has tuned."""
    if version.kind == "backbone":
        return version.subject
    return ModelIdentity.from_json(catalogue.artefact(version.subject).identity).backbone


def _preprocess_kind(catalogue: Catalogue, digest: Digest) -> str:
    kind: str = catalogue.store.read_json(catalogue.artefact(digest).files["preprocess"])["kind"]
    return kind
