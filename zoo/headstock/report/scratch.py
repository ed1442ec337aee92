"""The from-scratch row: the same architecture from random weights, trained on the same rows by the same loop."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from headstock.digest import Digest
from headstock.errors import Unsupported

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.finetune.prepare import Prepared
    from headstock.finetune.strategy import Pace, Strategy
    from headstock.finetune.values import Values
    from headstock.plugin_host import PluginHost

EPOCHS = 20
"""Passes over the training rows at least; as many as the run's own live phases have where those are more."""
RATE = 1e-3
"""Highest rate of all weights: what suits pretrained ones would hardly move random ones."""
_BACKWARD = 3
"""A training step costs about as much as so many passes forward."""


def check_budget(prepared: Prepared, rows: int, budget: float) -> None:
    """Raise `Unsupported` if training on so many rows would take more than `budget` seconds of CPU."""
    passes = _epochs(prepared.recipe.strategy) * (_BACKWARD * rows + len(prepared.split.validation))
    _require(row_seconds(prepared) * passes, budget)


def _require(seconds: float, budget: float) -> None:
    if seconds > budget:
        raise Unsupported(f"about {seconds:.0f} s of CPU, the budget is {budget:.0f} s")


def row_seconds(prepared: Prepared) -> float:
    """CPU seconds of one validation row through the exported graph."""
    from headstock.finetune.reading import preprocessed
    from headstock.graph import Graph

    reader, graph = prepared.backbone.open_preprocessor(), Graph(prepared.backbone.graph)
    rows = preprocessed(reader, prepared.head_type.reads, prepared.dataset.inputs, prepared.split.validation[:1])
    found = []
    for _ in range(2):
        began = time.process_time()
        graph.run(reader.collate(rows), [prepared.recipe.head.tap])
        found.append(time.process_time() - began)
    return min(found)


def outputs(
    catalogue: Catalogue, host: PluginHost, prepared: Prepared, rows: Sequence[int], budget: float
) -> tuple[Values, dict[str, Any]]:
    """Raw outputs of the best epoch on the validation rows, and what was done; `rows` are places in the training part.

    The best epoch is chosen on the validation rows, as the model's own was. Raises `Unsupported` where the head has
    nothing to train or the second epoch would end later than `budget` CPU seconds allow for all of them.
    """
    import torch

    from headstock.backbone.restore import restore
    from headstock.finetune import loop
    from headstock.finetune.body import Body, RowSource
    from headstock.finetune.checkpoint import State
    from headstock.finetune.reset import reset
    from headstock.finetune.strategy import built_in

    recipe, head_type = prepared.recipe, prepared.head_type
    restored = restore(catalogue, host, Digest(recipe.backbone.digest), recipe.backbone.name)
    strategy = built_in("scratch", pace_of(recipe.strategy, "scratch"), restored.group_names)
    changed = recipe.model_copy(update={"strategy": strategy})
    tap = restored.identity.tap(recipe.head.tap)
    with loop.one_thread(), loop.seeded(recipe.seed, "report", "scratch"):
        reset(restored.module)
        head = head_type.build(tap.width, prepared.train, head_type.resolve_options(tap.width, recipe.head.options))
    if not any(parameter.requires_grad for parameter in head.parameters()):
        raise Unsupported(f"head type {head_type.name!r} has no weights to train")
    preprocessor = prepared.backbone.open_preprocessor()
    source = RowSource(preprocessor, head_type.reads, prepared.dataset.inputs)
    body = Body(restored, tap, preprocessor, source)
    split = prepared.split
    train = [split.train[row] for row in rows]
    job = loop.Job(
        changed, head_type, _no_features, prepared.targets.only(train), prepared.validation, body,
        train, split.validation,
    )  # fmt: skip
    began, state = time.process_time(), State()

    def within_budget(now: State) -> None:
        # The estimate was made on the exported graph; torch may be slower.
        if len(now.history) == 1:
            _require((time.process_time() - began) * strategy.epochs, 2 * budget)

    loop.train(job, head, state, within_budget)
    with torch.no_grad(), loop.one_thread():
        found = loop.outputs_of(head, body.values(split.validation, recipe.optimizer.batch_size))
    return found, {"epochs": len(state.history), "best_epoch": state.best_epoch, "rate": RATE, "rows": len(train)}


def _no_features() -> Any:
    raise Unsupported("a run from scratch has no frozen phase")


def _epochs(strategy: Strategy) -> int:
    return max(EPOCHS, sum(phase.epochs for phase in strategy.phases if phase.live))


def pace_of(own: Strategy, name: str) -> Pace:
    """The pace for the built-in strategy `name` that gives it what a run with the strategy `own` had.

    From random weights at least `EPOCHS` epochs at `RATE`.
    """
    from headstock.finetune.strategy import Pace

    usual = Pace()
    frozen, live = ([p for p in own.phases if bool(p.live) is moved] for moved in (False, True))
    # Adapters and weights learn at rates of their own; what suited the one says nothing of the other.
    same = bool(live) and own.initial == "pretrained" and bool(own.lora_rank) is (name == "lora")
    if name == "scratch":
        return Pace(backbone_epochs=_epochs(own), learning_rate=RATE, backbone_rate=RATE)
    return Pace(
        epochs=frozen[0].epochs if frozen else usual.epochs,
        backbone_epochs=max([p.epochs for p in live], default=usual.backbone_epochs),
        learning_rate=own.phases[0].learning_rate,
        backbone_rate=live[-1].backbone_rate if same else usual.backbone_rate,
    )
