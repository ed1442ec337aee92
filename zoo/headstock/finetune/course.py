"""What the loop follows of a recipe: seed, phases, optimizer, and when to stop."""

from __future__ import annotations

from typing import Protocol

from headstock.finetune.recipe import OptimizerChoice, Stopping
from headstock.finetune.strategy import Strategy


class Course(Protocol):
    """A recipe, or the part of one that says how each of several runs is trained."""

    @property
    def seed(self) -> int:
        """Of everything that is drawn."""

    @property
    def strategy(self) -> Strategy:
        """Its phases, run in order."""

    @property
    def optimizer(self) -> OptimizerChoice:
        """How weights move, and in batches of how many rows."""

    @property
    def stopping(self) -> Stopping:
        """When a phase ends early."""
