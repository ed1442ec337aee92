"""An objective posed to a backbone: what it learns from, cut to what it reads, and the exercise that the loop runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from headstock.backbone.restore import Restored
from headstock.finetune.body import Body, RowSource
from headstock.finetune.loop import Job, one_thread, seeded
from headstock.finetune.recipe import Recipe
from headstock.finetune.values import Values
from headstock.hookspecs import Studied, Targets
from headstock.objectives.exercise import Exercise
from headstock.objectives.prepare import Prepared


@dataclass(frozen=True, slots=True)
class Posed:
    """All that one training job needs."""

    exercise: Exercise
    body: Body
    pieces: int
    """What the table's rows were cut into, those of both sides."""
    train: list[int]
    """Numbers of the pieces to learn from."""
    validation: list[int]
    """Numbers of those that are held out; all pieces of a row stand on one side."""

    def head(self, seed: int) -> torch.nn.Module:
        """A fresh head, the same for the same seed."""
        with one_thread(), seeded(seed, "build"):
            return self.exercise.build(0, Targets(np.zeros(0)), {})

    def job(self, recipe: Recipe) -> Job:
        """What the loop trains by `recipe`, whose strategy decides what of the backbone learns."""
        nothing = Targets(np.zeros(len(self.train), np.int64))
        return Job(
            recipe, self.exercise, _no_features, nothing, nothing, self.body, self.train, self.validation,
            exercise=self.exercise,
        )  # fmt: skip


def _no_features() -> tuple[Values, Values]:
    raise TypeError("this is a bug: an exercise has no features to keep")


def pose(prepared: Prepared, restored: Restored) -> Posed:
    """Set `restored`, which learns in place, before the prepared rows; raises what the objective raises."""
    if restored.family is None:
        raise TypeError("this is a bug: a restored backbone has a family")
    recipe, preprocessor = prepared.recipe, prepared.backbone.open_preprocessor()
    tap = restored.identity.tap(recipe.head.tap)
    studied = Studied(restored.family, restored.module, tap, preprocessor)
    inputs, owners = prepared.objective.pieces(studied, prepared.inputs)
    seen, held_out = set(prepared.split.train), set(prepared.split.validation)
    train = [piece for piece, row in enumerate(owners) if row in seen]
    validation = [piece for piece, row in enumerate(owners) if row in held_out]
    body = Body(restored, tap, preprocessor, RowSource(preprocessor, "any", inputs))
    exercise = Exercise(
        prepared.objective,
        prepared.choice.options,
        studied,
        body,
        validation,
        recipe.optimizer.batch_size,
        recipe.seed,
    )
    return Posed(exercise, body, len(inputs), train, validation)
