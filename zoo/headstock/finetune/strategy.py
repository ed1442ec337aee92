"""Strategies as data: which layer groups are live, at what rate, for how long."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from headstock.errors import InvalidInput

Schedule = Literal["cosine", "constant", "slanted"]
Initial = Literal["pretrained", "random"]

FEATURE_EXTRACTION = "feature-extraction"
DISCRIMINATIVE = 1 / 2.6
"""Rate of a layer group as a share of the one above it (Howard and Ruder 2018, ULMFiT)."""
HIGHEST_RATE = 1000.0
"""No learning rate above it: a larger one is a slip of the keyboard."""
BACKBONE_RATE = 1e-4
"""Rate of a pretrained backbone's own weights where nobody says one."""
LORA_RATE = 2e-3
"""The same of low-rank adapters, which begin at zero and have far to go in a few epochs."""
_WARM_UP = 0.1
_LOWEST = 1 / 32


class Phase(BaseModel):
    """One stretch of training; a strategy is a list of these, run in order by one loop."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str
    """Shown in progress and in the report."""
    live: tuple[str, ...]
    """Layer groups of the backbone that learn, by name; empty: the backbone is frozen and only the head learns."""
    epochs: int = Field(ge=1, le=100_000)
    """At most so many passes over the training rows; early stopping may end the phase before."""
    learning_rate: float = Field(gt=0, le=HIGHEST_RATE)
    """Of the head."""
    backbone_rate: float = Field(ge=0, le=HIGHEST_RATE)
    """Of the live group nearest to the output; 0 where nothing is live."""
    decay: float = Field(gt=0, le=1)
    """Rate of each live group as a share of the rate of the next one towards the output; 1: all the same."""
    schedule: Schedule
    """`cosine` falls to zero over the phase, `constant` stays, `slanted` rises over the first tenth and then falls in a
    line to 1/32 (Howard and Ruder 2018)."""

    @model_validator(mode="after")
    def _rate_fits(self) -> Phase:
        if bool(self.live) != (self.backbone_rate > 0):
            raise ValueError("backbone_rate must be above 0 where layer groups are live, and 0 where none is")
        return self


class Strategy(BaseModel):
    """A named list of phases."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str
    phases: tuple[Phase, ...] = Field(min_length=1)
    initial: Initial
    """`random` forgets what the backbone has learned before the first phase: training from scratch."""
    l2_sp: float = Field(ge=0)
    """Pull of live weights towards where they began (Li et al. 2018): adds `l2_sp / 2 * |w - w0|^2` to the loss."""
    interpolation: float = Field(gt=0, le=1)
    """Share of the trained weights in what is published, the rest is the state after the first phase (Wortsman et al.
    2022, WiSE-FT); 1: the trained weights."""

    lora_rank: int = Field(ge=0, le=4096)
    """Above 0 what is live learns as low-rank adapters of this rank, and its own weights stay (Hu et al. 2021)."""
    lora_alpha: int = Field(ge=0, le=65_536)
    """Scale of the adapters: `lora_alpha / lora_rank` times what they add."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Strategy:
        if self.interpolation < 1 and (len(self.phases) < 2 or self.phases[0].live):
            raise ValueError("interpolation needs a first phase with live = [] and another one after it")
        if self.lora_rank and not (self.live and self.lora_alpha):
            raise ValueError("lora_rank needs a phase with live layer groups and a lora_alpha above 0")
        if not self.changes_backbone and (self.l2_sp or self.initial == "random"):
            raise ValueError("l2_sp and initial = 'random' need a phase with live layer groups")
        return self

    @property
    def epochs(self) -> int:
        """Most epochs that the phases allow, all together."""
        return sum(phase.epochs for phase in self.phases)

    @property
    def live(self) -> tuple[str, ...]:
        """Layer groups that are live in some phase, each once."""
        return tuple(dict.fromkeys(name for phase in self.phases for name in phase.live))

    @property
    def changes_backbone(self) -> bool:
        """True if the result stands on a new backbone; False if it shares the one it began with."""
        return bool(self.live) and not self.lora_rank

    def require_groups(self, groups: Sequence[str], backbone: str) -> None:
        """Raise `InvalidInput` for a live group that the backbone does not have."""
        for phase in self.phases:
            for name in phase.live:
                if name not in groups:
                    close = get_close_matches(name, groups, n=1)
                    raise InvalidInput(
                        f"phase {phase.name!r} names the layer group {name!r}; backbone {backbone!r} has "
                        f"{', '.join(groups)}",
                        fix=f"write {close[0]!r} instead" if close else None,
                    )


@dataclass(frozen=True, slots=True)
class Pace:
    """How long and how fast, for those who ask for a built-in strategy."""

    epochs: int = 60
    """Of a phase in which only the head learns."""
    backbone_epochs: int = 5
    """Of a phase in which the backbone learns."""
    learning_rate: float = 3e-3
    """Of the head."""
    backbone_rate: float | None = None
    """Of the live group nearest to the output; None: `BACKBONE_RATE`, or `LORA_RATE` for adapters."""
    schedule: Schedule = "cosine"
    l2_sp: float = 0.01
    interpolation: float = 0.5
    lora_rank: int = 8
    lora_alpha: int = 16


def built_in(name: str, pace: Pace, groups: Sequence[str] = ()) -> Strategy:
    """The built-in strategy of that name over the layer `groups`, input to output.

    Raises `InvalidInput` with the names that exist, or for more groups than there are.
    """
    last = re.fullmatch(r"last-(\d+)", name)
    if name not in BUILT_IN and last is None:
        close = get_close_matches(name, BUILT_IN, n=1)
        raise InvalidInput(
            f"there is no strategy {name!r}; built in: {', '.join(BUILT_IN)}",
            fix=f"--strategy {close[0] if close else BUILT_IN[0]}",
        )
    if pace.backbone_rate is None:
        pace = replace(pace, backbone_rate=LORA_RATE if name == "lora" else BACKBONE_RATE)
    everything = tuple(groups)
    whole = _live("fine-tune", everything, pace) if everything else None
    if name == FEATURE_EXTRACTION or whole is None:
        return _strategy(name, [_probe(pace)])
    if last is not None:
        return _strategy(name, [_live("fine-tune", _last(everything, int(last[1])), pace)])
    match name:
        case "lp-ft":
            return _strategy(name, [_probe(pace), whole])
        case "wise-ft":
            return _strategy(name, [_probe(pace), whole], interpolation=pace.interpolation)
        case "gradual":
            return _strategy(name, _gradual(everything, pace))
        case "l2-sp":
            return _strategy(name, [whole], l2_sp=pace.l2_sp)
        case "lora":
            return _strategy(name, [_probe(pace), whole], lora=(pace.lora_rank, pace.lora_alpha))
        case "scratch":
            return _strategy(name, [whole], initial="random")
    return _strategy(name, [whole])


BUILT_IN = (FEATURE_EXTRACTION, "last-1", "last-2", "full", "gradual", "lp-ft", "l2-sp", "wise-ft", "lora", "scratch")
"""Names that `built_in` knows; `last-N` exists for every N."""


def rate(schedule: Schedule, peak: float, step: int, steps: int) -> float:
    """Learning rate at `step` (from 0) of a phase's `steps`, where `peak` is the highest."""
    if schedule == "constant":
        return peak
    if schedule == "cosine":
        return peak * 0.5 * (1.0 + math.cos(math.pi * step / max(steps, 1)))
    cut = max(1, math.floor(steps * _WARM_UP))
    share = step / cut if step < cut else 1 - (step - cut) / max(steps - cut, 1)
    return peak * (_LOWEST + share * (1 - _LOWEST))


def _strategy(
    name: str,
    phases: Sequence[Phase],
    *,
    initial: Initial = "pretrained",
    l2_sp: float = 0.0,
    interpolation: float = 1.0,
    lora: tuple[int, int] = (0, 0),
) -> Strategy:
    return Strategy(
        name=name,
        phases=tuple(phases),
        initial=initial,
        l2_sp=l2_sp,
        interpolation=interpolation,
        lora_rank=lora[0],
        lora_alpha=lora[1],
    )


def _probe(pace: Pace) -> Phase:
    return Phase(
        name="head",
        live=(),
        epochs=pace.epochs,
        learning_rate=pace.learning_rate,
        backbone_rate=0.0,
        decay=1.0,
        schedule=pace.schedule,
    )


def _live(
    name: str,
    groups: tuple[str, ...],
    pace: Pace,
    *,
    epochs: int | None = None,
    decay: float = 1.0,
    schedule: Schedule | None = None,
) -> Phase:
    return Phase(
        name=name,
        live=groups,
        epochs=epochs or pace.backbone_epochs,
        learning_rate=pace.learning_rate,
        backbone_rate=BACKBONE_RATE if pace.backbone_rate is None else pace.backbone_rate,
        decay=decay,
        schedule=schedule or pace.schedule,
    )


def _last(groups: tuple[str, ...], count: int) -> tuple[str, ...]:
    if not 1 <= count <= len(groups):
        raise InvalidInput(
            f"strategy 'last-{count}' asks for {count} layer groups; this backbone has {len(groups)}: "
            f"{', '.join(groups)}",
            fix=f"--strategy last-{len(groups)}" if count else "--strategy feature-extraction",
        )
    return groups[-count:]


def _gradual(groups: tuple[str, ...], pace: Pace) -> list[Phase]:
    """The head, then one group more at a time from the output down, one epoch each, and at last all of them."""
    steps = [
        _live(f"from {groups[-n]}", groups[-n:], pace, epochs=1, decay=DISCRIMINATIVE, schedule="slanted")
        for n in range(1, len(groups))
    ]
    last = _live("all", groups, pace, decay=DISCRIMINATIVE, schedule="slanted")
    return [_probe(pace), *steps, last]
