"""How the runs of an adaptation are trained: the same for every method, so that they compare."""

from __future__ import annotations

from dataclasses import dataclass

from headstock.finetune.recipe import OptimizerChoice, Stopping
from headstock.finetune.strategy import FEATURE_EXTRACTION, Pace, Strategy, built_in


@dataclass(frozen=True, slots=True)
class Settings:
    """The course that the training loop follows, and the head that it trains."""

    strategy: Strategy
    """No phase of it has live layer groups: the backbone stays shared."""
    optimizer: OptimizerChoice
    """Its batch size is of each domain."""
    stopping: Stopping
    hidden: int = 64
    """Width of both hidden layers."""
    strength: float = 1.0
    """Weight of the adaptation loss."""
    seed: int = 0
    """Of one run."""


def settings(
    epochs: int = 30,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    hidden: int = 64,
    strength: float = 1.0,
) -> Settings:
    """Settings by what a person may ask for: passes over the source rows, rows of each domain a step, Adam's rate."""
    pace = Pace(epochs=epochs, learning_rate=learning_rate, schedule="constant")
    strategy = built_in(FEATURE_EXTRACTION, pace).model_copy(update={"name": "adaptation"})
    # Adam is AdamW without decay.
    optimizer = OptimizerChoice.adamw(weight_decay=0.0, batch_size=batch_size)
    # No target label could say which epoch is best: all runs are trained to the end.
    return Settings(strategy, optimizer, Stopping(patience=0, min_delta=0.0), hidden, strength)
