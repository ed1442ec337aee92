"""A tiny backbone on which the contract kit lets an objective teach, by the loop that `headstock continue` runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headstock.data.inputs import RawInputs
from headstock.digest import Digest, digest_json
from headstock.hookspecs import BackboneFamily, Objective, SourceFiles, Studied
from headstock.preprocess import Preprocessor, open_preprocessor
from headstock.testing.cases import ObjectiveCase
from headstock.testing.results import Broken

if TYPE_CHECKING:
    from headstock.backbone.restore import Restored
    from headstock.finetune.checkpoint import State
    from headstock.finetune.recipe import Recipe
    from headstock.objectives.exercise import Measured
    from headstock.objectives.posed import Posed

HEAD_EPOCHS, LIVE_EPOCHS = 3, 5
"""Epochs of the head alone, and of the head with the backbone's last layer group."""
EPOCHS = HEAD_EPOCHS + LIVE_EPOCHS
BATCH_SIZE = 6
FEWEST = 10
"""Rows to learn from."""


class Given(RawInputs):
    """Rows at hand."""

    block = 4096

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = values
        self.samples = tuple(digest_json({"row": number}) for number in range(len(values)))

    def read(self, rows: Sequence[int]) -> tuple[list[Any], ...]:
        """The rows as they were given."""
        return ([self._values[row] for row in rows],)

    def name(self, row: int) -> str:
        """Its number."""
        return f"row {row} of the case"


@dataclass(frozen=True, slots=True)
class Posture:
    """One fresh backbone, set before the rows by a fresh copy of the objective."""

    objective: Objective
    restored: Restored
    studied: Studied
    posed: Posed


@dataclass(frozen=True, slots=True)
class Taught:
    """What a training came to."""

    head: Digest
    backbone: Digest
    """Of all weights and statistics."""
    before: Measured
    after: Measured


class Ground:
    """What is the same for every training: checkpoint, rows, options, recipe."""

    def __init__(
        self, objective: Objective, family: BackboneFamily, files: SourceFiles, case: ObjectiveCase, seed: int
    ) -> None:
        """Raises `Broken` for a case that nothing can be tried on."""
        # An objective that remembers anything would remember it here, and not after an interruption.
        self._objective = deepcopy(objective)
        self._family, self._files, self.seed = family, files, seed
        spec, kept = family.preprocess(files), family.files(files)
        self.preprocessor = open_preprocessor(spec, {role: kept[role] for role in spec.files})
        self.inputs = Given((case.rows or default_rows)(self.preprocessor))
        if len(self.inputs) < FEWEST:
            raise Broken(f"the case has {len(self.inputs)} rows; expected at least {FEWEST}")

    def studied(self) -> tuple[Restored, Studied]:
        """The backbone as it is when a run begins, and its tap."""
        from headstock.backbone.identity import identify
        from headstock.backbone.restore import Restored
        from headstock.objectives.plan import objective_tap

        module = self._family.load(self._files).eval().requires_grad_(False)
        identity = identify(self._family, self._files, module, self.preprocessor.spec)
        names = [name for name, _ in module.named_parameters()]
        groups = [g for g in self._family.layer_groups(module) if any(name.startswith(g.prefixes) for name in names)]
        restored = Restored(module, tuple(groups), identity, self._family)
        tap = identity.tap(objective_tap(self._objective, identity))
        return restored, Studied(self._family, module, tap, self.preprocessor)

    def posture(self, options: Mapping[str, Any]) -> Posture:
        """Every row to learn from, and the same ones to be judged by."""
        from headstock.finetune.body import Body, RowSource
        from headstock.objectives.exercise import Exercise
        from headstock.objectives.posed import Posed

        objective = deepcopy(self._objective)
        restored, studied = self.studied()
        inputs, _ = objective.pieces(studied, self.inputs)
        body = Body(restored, studied.tap, self.preprocessor, RowSource(self.preprocessor, "any", inputs))
        every = list(range(len(inputs)))
        exercise = Exercise(objective, options, studied, body, every, BATCH_SIZE, self.seed)
        return Posture(objective, restored, studied, Posed(exercise, body, len(inputs), every, every))

    def teach(
        self,
        options: Mapping[str, Any],
        interrupted: Sequence[int] = (),
        after_epoch: Callable[[Posture, State], None] = lambda posture, state: None,
    ) -> Taught:
        """Train from the start, interrupted after each of these epochs and gone on with as a new process would."""
        from headstock.backbone.identity import state_digest, weights_digest
        from headstock.finetune import checkpoint, loop

        kept: bytes | None = None
        before: Measured | None = None
        for stop in (*interrupted, None):
            posture = self.posture(options)
            posed, head = posture.posed, posture.posed.head(self.seed)
            before = before or posed.exercise.measure(head)
            state = checkpoint.State() if kept is None else checkpoint.load(kept)
            if state is None:
                raise TypeError("this is a bug: a checkpoint that was just written cannot be read")

            def watch(now: State, stop: int | None = stop, posture: Posture = posture) -> None:
                nonlocal kept
                after_epoch(posture, now)
                if len(now.history) == stop:
                    kept = checkpoint.dump(now)
                    raise _Interrupted

            try:
                loop.train(posed.job(self._recipe(posture)), head, state, watch)
            except _Interrupted:
                continue
            after = posed.exercise.measure(head)
            return Taught(state_digest(head.state_dict()), weights_digest(posture.restored.module), before, after)
        raise TypeError("this is a bug: the last training is not interrupted")

    def _recipe(self, posture: Posture) -> Recipe:
        from headstock.data.split_choice import RandomSplit
        from headstock.finetune import recipe
        from headstock.finetune.strategy import Phase, Strategy

        nothing = digest_json({})
        head = Phase(
            name="head", live=(), epochs=HEAD_EPOCHS, learning_rate=1e-2, backbone_rate=0.0, decay=1.0,
            schedule="constant",
        )  # fmt: skip
        last = posture.restored.group_names[-1:]
        live = head.model_copy(
            update={"name": "live", "live": last, "epochs": LIVE_EPOCHS, "backbone_rate": 2e-3},
        )
        return recipe.Recipe(
            format=recipe.FORMAT,
            seed=self.seed,
            backbone=recipe.BackboneChoice(name="tiny", digest=nothing),
            head=recipe.HeadChoice(type=self._objective.name, tap=posture.studied.tap.name, options={}),
            data=recipe.DataChoice(name="rows", sha256=nothing, columns={}),
            split=RandomSplit(kind="random", fraction=0.5, stratified=False, seed=self.seed),
            strategy=Strategy(
                name="lp-ft", phases=(head, live), initial="pretrained", l2_sp=0.0, interpolation=1.0, lora_rank=0,
                lora_alpha=0,
            ),
            optimizer=recipe.OptimizerChoice.adamw(weight_decay=0.0, batch_size=BATCH_SIZE),
            stopping=recipe.Stopping(patience=0, min_delta=0.0),
            features=recipe.Features(cache=False),
        )  # fmt: skip


class _Interrupted(BaseException):
    """Ends a training between two epochs, past whatever catches exceptions."""


def default_rows(preprocessor: Preprocessor) -> Sequence[Any]:
    """Raw inputs by kind of preprocessing; raises `Broken` where there are none."""
    kind = preprocessor.spec.kind
    if kind == "text":
        from headstock.testing.tiny import TEXTS

        return [f"{text} {number}" for number in range(3) for text in TEXTS]
    if kind == "image":
        from headstock.preprocess.image_samples import samples

        return samples()
    if kind == "table":
        from headstock.preprocess.table_options import TableOptions
        from headstock.preprocess.table_samples import samples as rows

        return rows(TableOptions.parse(preprocessor.spec.options))
    if kind in ("waveform", "mfcc"):
        from headstock.preprocess.audio_samples import samples as voices

        return voices()
    raise Broken(f"the kit has no rows for preprocessing kind {kind!r}; give the ObjectiveCase its own")
