"""Ways to choose the rows that validate, as a recipe spells them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(gt=0, lt=1)]


class _Choice(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class RandomSplit(_Choice):
    """Validation rows drawn at random."""

    kind: Literal["random"]
    fraction: Fraction
    """Share of rows that validate."""
    stratified: bool
    """Draw the same share from every class."""
    seed: int = Field(ge=0)


class ColumnSplit(_Choice):
    """Validation rows named by a column of the data."""

    kind: Literal["column"]
    column: str


class GroupSplit(_Choice):
    """Whole groups drawn at random: all rows of one patient, one speaker or one machine stand on one side."""

    kind: Literal["group"]
    column: str
    """Names each row's group."""
    fraction: Fraction
    seed: int = Field(ge=0)


class TimeSplit(_Choice):
    """The latest rows validate: the model is judged on what came after all that it learned from."""

    kind: Literal["time"]
    column: str
    """Dates as ISO 8601 writes them, or numbers."""
    fraction: Fraction


SplitChoice = Annotated[RandomSplit | ColumnSplit | GroupSplit | TimeSplit, Field(discriminator="kind")]
SPLIT_CHOICES = (RandomSplit, ColumnSplit, GroupSplit, TimeSplit)
SPLIT_KINDS = ("random", "column", "group", "time")
