"""From what a person asked of two towers and a table of pairs to a recipe that spells everything, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headstock.data.columns import choose_columns
from headstock.data.table import Table
from headstock.digest import Digest, short
from headstock.errors import InvalidInput, NotFound
from headstock.finetune.recipe import BackboneChoice, ObjectiveChoice, Recipe
from headstock.finetune.strategy import FEATURE_EXTRACTION, Pace, Schedule, Strategy, built_in
from headstock.objectives.spelled import spelled
from headstock.servable import load_backbone
from headstock_multimodal.align.pairs import PairTask
from headstock_multimodal.heads.towers import Tower, require_same_space

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue

ROLES = ("image", "text")
TAPPED = "pooled"
"""The tap that both projections stand on."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """What a person may ask for; these defaults are written into the recipe."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Role to column, where it is not to be guessed."""
    last_n: int = 0
    """Layer groups of each tower, counted from its output, that learn beside the projections."""
    epochs: int = 30
    batch_size: int = 64
    """Pairs per step: every other pair of it is a negative, so more are better."""
    learning_rate: float = 1e-4
    """Of both projections and the temperature."""
    backbone_rate: float = 1e-5
    """Of the layer groups."""
    schedule: Schedule = "cosine"
    weight_decay: float = 0.0
    patience: int = 10
    validation: float = 0.2
    seed: int = 0


def plan_alignment(
    image: Tower, text: Tower, table: Table, asked: Alignment, groups: Mapping[str, Sequence[str]] | None = None
) -> Recipe:
    """The recipe for aligning two towers of one space; `groups` are each role's layer groups, input to output, which
    only `last_n` needs. Raises `DigestMismatch` for towers of two spaces, `InvalidInput`.
    """
    require_same_space(image, text)
    return spelled(
        table,
        choose_columns(table, list(ROLES), asked.columns),
        BackboneChoice(name=image.name, digest=image.digest),
        TAPPED,
        ObjectiveChoice(name=PairTask.name, options={"text_backbone": text.digest, "text_name": text.name}),
        _strategy(asked, groups or {}),
        asked,
        cache=True,
    )


def towers_of(catalogue: Catalogue, recipe: Recipe) -> dict[str, Tower]:
    """Both towers that the recipe names, by role.

    Raises `InvalidInput` for a recipe of another command, or one that says what an alignment cannot do, and `NotFound`
    for a tower that is not here.
    """
    choice = recipe.objective
    if choice is None or choice.name != PairTask.name or set(choice.options) != {"text_backbone", "text_name"}:
        raise InvalidInput(
            "the recipe is not one of an alignment",
            fix=f"headstock {'fine-tune' if choice is None else 'continue'} --recipe",
        )
    strategy = recipe.strategy
    if any(getattr(recipe, section) is not None for section in ("compute", "parent", "teacher", "adaptation")):
        raise InvalidInput("the recipe has a section that says nothing to an alignment", fix="leave it out")
    if strategy.lora_rank or strategy.initial != "pretrained":
        raise InvalidInput("an alignment makes new towers of those that there are", fix="lora_rank = 0, pretrained")
    named = {
        "image": (recipe.backbone.name, recipe.backbone.digest),
        "text": (str(choice.options["text_name"]), str(choice.options["text_backbone"])),
    }
    found = {}
    for role, (name, digest) in named.items():
        try:
            found[role] = Tower(name, load_backbone(catalogue, Digest(digest)))
        except NotFound as error:
            raise NotFound(
                f"the catalogue has no backbone {short(Digest(digest))}, which the recipe calls {name!r}",
                fix=f"headstock pull SOURCE --name {name}",
            ) from error
    return found


def _strategy(asked: Alignment, groups: Mapping[str, Sequence[str]]) -> Strategy:
    pace = Pace(
        epochs=asked.epochs,
        backbone_epochs=asked.epochs,
        learning_rate=asked.learning_rate,
        backbone_rate=asked.backbone_rate,
        schedule=asked.schedule,
    )
    if not asked.last_n:
        return built_in(FEATURE_EXTRACTION, pace)
    name = f"last-{asked.last_n}"
    for role, own in groups.items():
        if asked.last_n > len(own):
            raise InvalidInput(
                f"--last-n {asked.last_n} asks for more layer groups than the {len(own)} of the {role} tower: "
                f"{', '.join(own)}",
                fix=f"--last-n {min(map(len, groups.values()))}",
            )
    live = tuple(f"{role}.{group}" for role, own in groups.items() for group in own[-asked.last_n :])
    # One phase: the projections are not new, so they have no noise to push into the towers.
    strategy = built_in(name, pace, live)
    return strategy.model_copy(update={"phases": (strategy.phases[0].model_copy(update={"live": live}),)})
