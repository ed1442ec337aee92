"""An objective posed to a backbone: what it learns from, cut to what it reads, and the exercise that the loop runs."""

from __future__ import annotations

from dataclasses import dataclass

from headstock.backbone.restore import Restored
from headstock.finetune.body import Body, RowSource
from headstock.hookspecs import Studied
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
