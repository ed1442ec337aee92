"""Strategies as data: which layer groups are live, at what rate, for how long."""

from __future__ import annotations

import math
from difflib import get_close_matches
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from headstock.errors import InvalidInput, Unsupported

Schedule = Literal["cosine", "constant"]


class Phase(BaseModel):
    """One stretch of training; a strategy is a list of these, run in order by one loop."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str
    """Shown in progress and in the report."""
    live: tuple[str, ...]
    """Layer groups of the backbone that learn, by name; empty: the backbone is frozen and only the head learns."""
    epochs: int = Field(ge=1, le=100_000)
    """At most so many passes over the training rows; early stopping may end the phase before."""
    learning_rate: float = Field(gt=0, le=1000)
    schedule: Schedule
    """`cosine` falls from `learning_rate` to zero over the phase, `constant` stays."""


class Strategy(BaseModel):
    """A named list of phases."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    phases: tuple[Phase, ...] = Field(min_length=1)

    @property
    def epochs(self) -> int:
        """Most epochs that the phases allow, all together."""
        return sum(phase.epochs for phase in self.phases)

    def require_frozen(self) -> None:
        """Raise `Unsupported` if a phase lets the backbone learn, which this version cannot train."""
        for phase in self.phases:
            if phase.live:
                raise Unsupported(
                    f"phase {phase.name!r} trains the layer groups {list(phase.live)}; "
                    "this version trains heads on a frozen backbone only",
                    fix="set live = [] in every phase, or use --strategy feature-extraction",
                )


def built_in(name: str, *, epochs: int, learning_rate: float, schedule: Schedule) -> Strategy:
    """The built-in strategy of that name; raises `InvalidInput` with the names that exist."""
    if name not in BUILT_IN:
        close = get_close_matches(name, BUILT_IN, n=1)
        raise InvalidInput(
            f"there is no strategy {name!r}; built in: {', '.join(BUILT_IN)}",
            fix=f"--strategy {close[0] if close else BUILT_IN[0]}",
        )
    phase = Phase(name="head", live=(), epochs=epochs, learning_rate=learning_rate, schedule=schedule)
    return Strategy(name=name, phases=(phase,))


BUILT_IN = ("feature-extraction",)
"""Names that `built_in` knows."""


def rate(phase: Phase, step: int, steps: int) -> float:
    """Learning rate at `step` (from 0) of the phase's `steps`."""
    if phase.schedule == "constant":
        return phase.learning_rate
    return phase.learning_rate * 0.5 * (1.0 + math.cos(math.pi * step / max(steps, 1)))
