"""From what a person asked a backbone to learn without labels to a recipe that spells everything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headstock.data.columns import ROW, choose_columns
from headstock.data.table import Table
from headstock.errors import InvalidInput
from headstock.finetune.made import Standing
from headstock.finetune.recipe import BackboneChoice, ObjectiveChoice, Recipe
from headstock.finetune.strategy import FEATURE_EXTRACTION, Pace, Schedule, built_in
from headstock.finetune.taps import WHOLE_SAMPLE
from headstock.finetune.typed_options import typed_options
from headstock.hookspecs import Objective
from headstock.names import Reference
from headstock.objectives.spelled import spelled
from headstock.records import BackboneIdentity
from headstock.servable import load_backbone

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.plugin_host import PluginHost


@dataclass(frozen=True, slots=True)
class Pursuit:
    """What a person may ask for; these defaults are written into the recipe."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Role to column, for those roles that are not to be guessed."""
    objective: str | None = None
    """None: the only one for what the backbone reads."""
    options: Mapping[str, str] = field(default_factory=dict)
    """`NAME` to value as typed."""
    strategy: str = "lp-ft"
    """The head is new and would at first push noise into the backbone, so it learns alone before."""
    epochs: int = 3
    """Of a phase in which the backbone learns."""
    head_epochs: int = 1
    """Of a phase in which only the head learns."""
    batch_size: int = 32
    learning_rate: float = 1e-3
    """Of the head."""
    backbone_rate: float = 5e-5
    """Of the live layer group nearest to the output."""
    schedule: Schedule = "slanted"
    weight_decay: float = 1e-2
    patience: int = 0
    validation: float = 0.1
    """Share of rows that are held out."""
    seed: int = 0


def plan_objective(catalogue: Catalogue, host: PluginHost, table: Table, backbone: Reference, asked: Pursuit) -> Recipe:
    """The recipe for going on with `backbone` on the rows of `table`.

    Raises `NotFound` for an unknown backbone or objective, `InvalidInput` for what does not fit together.
    """
    version = catalogue.version(backbone)
    if version.kind != "backbone":
        raise InvalidInput(
            f"{version} is a {version.kind}; only a backbone goes on learning without labels",
            fix="headstock list --kind backbone",
        )
    standing = Standing(version.name, load_backbone(catalogue, version.subject))
    objective = chosen_objective(host, asked.objective, standing)
    tap = objective_tap(objective, standing.backbone.identity)
    columns = input_columns(table, objective.modality, asked.columns)
    options = typed_options(f"objective {objective.name!r}", "--option", objective.default_options(), asked.options)
    pace = Pace(
        epochs=asked.head_epochs,
        backbone_epochs=asked.epochs,
        learning_rate=asked.learning_rate,
        backbone_rate=asked.backbone_rate,
        schedule=asked.schedule,
    )
    require_strategy(asked.strategy)
    built_in(asked.strategy, pace)
    from headstock.backbone.restore import restore

    groups = restore(catalogue, host, version.subject, version.name).group_names
    choice = ObjectiveChoice(name=objective.name, options=options)
    standing_on = BackboneChoice(name=version.name, digest=version.subject)
    strategy = built_in(asked.strategy, pace, groups)
    return spelled(table, columns, standing_on, tap, choice, strategy, asked, cache=False)


def chosen_objective(host: PluginHost, name: str | None, standing: Standing) -> Objective:
    """The objective of that name, or the one for what the backbone reads; raises `InvalidInput` if it does not fit."""
    fitting = [entry.name for entry in host.objectives() if entry.modality == standing.reads]
    if name is None and len(fitting) != 1:
        raise InvalidInput(
            f"{len(fitting)} objectives are for {standing.reads}, which backbone {standing.name!r} reads"
            + (f": {', '.join(fitting)}" if fitting else ""),
            fix=f"--objective {fitting[0]}" if fitting else None,
        )
    objective = host.objective(name or fitting[0])
    if objective.modality != standing.reads:
        raise InvalidInput(
            f"objective {objective.name!r} is for {objective.modality}, but backbone {standing.name!r} reads "
            f"{standing.reads}",
            fix=f"--objective {fitting[0]}" if fitting else None,
        )
    return objective


def objective_tap(objective: Objective, identity: BackboneIdentity) -> str:
    """The objective's tap, or the one that means the same on this backbone; raises `NotFound`."""
    names = [tap.name for tap in identity.taps]
    same = [name for name in WHOLE_SAMPLE if name in names] if objective.tap in WHOLE_SAMPLE else []
    return identity.tap(objective.tap if objective.tap in names or not same else same[0]).name


def input_columns(table: Table, modality: str, told: Mapping[str, str]) -> dict[str, str]:
    """The column of the rows' inputs; none for tables, whose rows are their own."""
    roles = [] if modality == "tabular" else [modality]
    if told and not roles:
        raise InvalidInput("rows of a table are read whole; expected no column", fix=f"leave out --{ROW}-column")
    return choose_columns(table, roles, told)


def require_strategy(name: str) -> None:
    """Raise `InvalidInput` for a strategy by which no new backbone comes about."""
    if name in (FEATURE_EXTRACTION, "lora"):
        raise InvalidInput(
            f"strategy {name!r} leaves the backbone as it is, and nothing else is kept of an objective",
            fix="--strategy lp-ft",
        )
