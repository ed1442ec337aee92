"""The recipe of a run without labels, every setting spelled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

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
from headstock.finetune.strategy import Strategy


class Asked(Protocol):
    """What every such run may be asked for, whatever it learns."""

    @property
    def batch_size(self) -> int:
        """Rows per step."""

    @property
    def weight_decay(self) -> float:
        """AdamW's."""

    @property
    def patience(self) -> int:
        """Epochs without a better one before a phase ends; 0 never ends one early."""

    @property
    def validation(self) -> float:
        """Share of rows that are held out."""

    @property
    def seed(self) -> int:
        """Of split, weights and order."""


def spelled(
    table: Table,
    columns: Mapping[str, str],
    backbone: BackboneChoice,
    tap: str,
    objective: ObjectiveChoice,
    strategy: Strategy,
    asked: Asked,
    *,
    cache: bool,
) -> Recipe:
    """The recipe for learning `objective` from `columns` of `table`; raises `InvalidInput` for a share that is none.

    With `cache` the frozen backbone sees each row once, which needs an objective that makes no views of it.
    """
    if not 0 < asked.validation < 1:
        raise InvalidInput(
            f"--validation {asked.validation} is not a share; expected a number between 0 and 1",
            fix="--validation 0.1",
        )
    return Recipe(
        format=FORMAT,
        seed=asked.seed,
        backbone=backbone,
        head=HeadChoice(type=objective.name, tap=tap, options={}),
        data=DataChoice(name=table.name, sha256=data_digest(table, columns), columns=dict(columns)),
        split=RandomSplit(kind="random", fraction=asked.validation, stratified=False, seed=asked.seed),
        strategy=strategy,
        optimizer=OptimizerChoice.adamw(weight_decay=asked.weight_decay, batch_size=asked.batch_size),
        stopping=Stopping(patience=asked.patience, min_delta=0.0),
        features=Features(cache=cache),
        objective=objective,
    )
