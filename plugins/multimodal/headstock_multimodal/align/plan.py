"""From what a person asked of two towers and a table of pairs to a recipe that spells everything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headstock.data.columns import choose_columns
from headstock.data.dataset import data_digest
from headstock.data.split_choice import RandomSplit
from headstock.data.table import Table
from headstock.errors import InvalidInput
from headstock.finetune.recipe import (
    FORMAT,
    BackboneChoice,
    DataChoice,
    Features,
    HeadChoice,
    ObjectiveChoice,
    OptimizerChoice,
    Recipe,
    Stopping,
)
from headstock.finetune.strategy import FEATURE_EXTRACTION, Pace, Schedule, built_in
from headstock_multimodal.align.pairs import PairTask
from headstock_multimodal.heads.towers import Tower, require_same_space

ROLES = ("image", "text")
TAPPED = "pooled"
"""The tap that both projections stand on."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """What a person may ask for; these defaults are written into the recipe."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Role to column, where it is not to be guessed."""
    epochs: int = 30
    batch_size: int = 64
    """Pairs per step: every other pair of it is a negative, so more are better."""
    learning_rate: float = 1e-4
    schedule: Schedule = "cosine"
    weight_decay: float = 0.0
    patience: int = 10
    validation: float = 0.2
    seed: int = 0


def plan_alignment(image: Tower, text: Tower, table: Table, asked: Alignment) -> Recipe:
    """The recipe for aligning two towers of one space; raises `DigestMismatch` for others, `InvalidInput`."""
    require_same_space(image, text)
    if not 0 < asked.validation < 1:
        raise InvalidInput(f"--validation {asked.validation} is not a share; expected a number between 0 and 1")
    columns = choose_columns(table, list(ROLES), asked.columns)
    pace = Pace(epochs=asked.epochs, learning_rate=asked.learning_rate, schedule=asked.schedule)
    return Recipe(
        format=FORMAT,
        seed=asked.seed,
        backbone=BackboneChoice(name=image.name, digest=image.digest),
        head=HeadChoice(type=PairTask.name, tap=TAPPED, options={}),
        data=DataChoice(name=table.name, sha256=data_digest(table, columns), columns=columns),
        split=RandomSplit(kind="random", fraction=asked.validation, stratified=False, seed=asked.seed),
        strategy=built_in(FEATURE_EXTRACTION, pace),
        optimizer=OptimizerChoice(
            name="adamw",
            weight_decay=asked.weight_decay,
            beta1=0.9,
            beta2=0.999,
            epsilon=1e-8,
            batch_size=asked.batch_size,
        ),
        stopping=Stopping(patience=asked.patience, min_delta=0.0),
        features=Features(cache=True),
        objective=ObjectiveChoice(name=PairTask.name, options={"text_backbone": text.digest}),
    )
