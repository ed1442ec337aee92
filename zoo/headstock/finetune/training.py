"""Features, head and loop put together: from prepared data to a trained head, continuing an interrupted run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from headstock.adapter.adapted import AdaptedGraph
from headstock.backbone.restore import Restored, restore
from headstock.digest import Digest, short
from headstock.errors import InvalidInput
from headstock.finetune import checkpoint, loop, new_adapter
from headstock.finetune.body import Body, RowSource
from headstock.finetune.checkpoint import State
from headstock.finetune.feature_cache import FeatureCache
from headstock.finetune.features import FeatureExtractor, FeatureSet
from headstock.finetune.new_backbone import NewBackbone, admit, group_digests, is_changed
from headstock.finetune.observer import Observer, Trackers
from headstock.finetune.prepare import Prepared
from headstock.finetune.reset import reset
from headstock.finetune.run import Onlooker, Part, RunFolder
from headstock.finetune.team import Team, alone_on, team_of
from headstock.finetune.values import Values, flat, pick, width_of
from headstock.graph import Graph
from headstock.records import Artefact
from headstock.servable import ServableBackbone, servable_adapter

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.plugin_host import PluginHost


@dataclass(frozen=True, slots=True)
class Trained:
    """The loop's result with what the report needs."""

    head: torch.nn.Module
    """With the best weights."""
    state: State
    features: FeatureSet
    """Of all rows of the table, from the backbone that the head stands on."""
    train: Values
    validation: Values
    probe_train: Values
    """Features of the training rows from the backbone that the run began with; `train` again if it was not changed."""
    probe_validation: Values
    new_backbone: NewBackbone | None
    """What the run made of the backbone, or None: the model shares the one it began with."""
    adapter: Artefact | None
    """What the run adds to the backbone, stored but not published yet; None without one."""
    resumed: int
    """Epochs that an earlier, interrupted run had done."""
    seconds: Mapping[str, float]


def train_head(
    catalogue: Catalogue,
    host: PluginHost,
    prepared: Prepared,
    run: RunFolder | Onlooker,
    watcher: Observer,
    trackers: Trackers,
    threads: int,
    *,
    compared: bool = False,
) -> Trained:
    """Compute what features are missing, build the head, and run the loop from the last checkpoint.

    With `compared` the run is only compared with another: nothing that it changed is exported or stored.
    """
    recipe = prepared.recipe
    began = time.perf_counter()
    # What is only compared runs beside the run, in the process that leads.
    team = alone_on(recipe.compute) if compared else team_of(recipe.compute)
    try:
        restored = _restore(catalogue, host, prepared)
        before = group_digests(restored) if restored is not None and recipe.strategy.changes_backbone else {}
        extractor = _extractor(catalogue, prepared, threads)
        dataset, split = prepared.dataset, prepared.split
        with team.leader_first():
            features = extractor.features(dataset.inputs, watcher.features)
        train, validation = pick(features.values, split.train), pick(features.values, split.validation)
        extracted = time.perf_counter() - began
        body = _body(prepared, restored, team)
        head = _build_head(prepared, train)
        state = read_state(run, head, watcher.say)
        # Nobody writes the next checkpoint before everybody has read the last.
        team.wait()
        resumed = len(state.history)
        if resumed:
            most = recipe.strategy.epochs
            watcher.say(f"resuming run {short(recipe.digest)} after epoch {resumed} of at most {most}")

        def after_epoch(now: State) -> None:
            run.write_checkpoint(checkpoint.dump(now))
            # First: whoever watches may interrupt the run, and this epoch is not told again.
            trackers.epoch(len(now.history), now.history[-1])
            watcher.epoch(now.history[-1])

        source = _source(prepared, extractor, train, validation)
        job = loop.Job(
            recipe, prepared.head_type, source, prepared.train, prepared.validation, body, split.train,
            split.validation, prepared.lesson.taught(split.train) if prepared.lesson else None, team,
        )  # fmt: skip
        watcher.start(recipe, resumed)
        loop.train(job, head, state, after_epoch)
        team.close()
    finally:
        watcher.end()
    trained = time.perf_counter() - began - extracted
    made, adapter = None, None if prepared.parent is None else prepared.parent.adapter
    seconds = {"features": extracted, "training": trained}
    parents = (train, validation)
    if compared:
        if body is not None:
            with loop.one_thread():
                validation = body.values(split.validation, recipe.optimizer.batch_size)
        return Trained(head, state, features, train, validation, *parents, None, None, resumed, seconds)
    if restored is not None and team.leads:
        made, moved = _keep_changes(catalogue, prepared, restored, before, watcher.say)
        adapter = moved or adapter
        if made or moved:
            graph = None if moved is None else AdaptedGraph(servable_adapter(catalogue, moved))
            changed = _changed_extractor(catalogue, prepared, threads, made, graph)
            features = changed.features(dataset.inputs, _unseen)
            train, validation = pick(features.values, split.train), pick(features.values, split.validation)
        seconds["admission"] = time.perf_counter() - began - extracted - trained
    return Trained(head, state, features, train, validation, *parents, made, adapter, resumed, seconds)


def _keep_changes(
    catalogue: Catalogue,
    prepared: Prepared,
    restored: Restored,
    before: Mapping[str, Digest],
    say: Callable[[str], None],
) -> tuple[NewBackbone | None, Artefact | None]:
    """The backbone or the adapter that the run made, stored; neither where nothing moved."""
    if not prepared.recipe.strategy.lora_rank:
        return (admit(catalogue, prepared.backbone, restored, before, say) if is_changed(restored) else None), None
    # An adapter that went on is never zero; one that did not move is stored as the one that it was.
    return None, new_adapter.take(catalogue, prepared.backbone, restored) if new_adapter.is_changed(restored) else None


def _changed_extractor(
    catalogue: Catalogue, prepared: Prepared, threads: int, made: NewBackbone | None, graph: Graph | None
) -> FeatureExtractor:
    """What the served head will see: a new backbone's features, or the old one's under the new adapter."""
    if made is not None:
        return _extractor(catalogue, prepared, threads, made.servable)
    tap, reads = prepared.recipe.head.tap, prepared.head_type.reads
    return FeatureExtractor(prepared.backbone, tap, None, threads=threads, reads=reads, graph=graph)


def _restore(catalogue: Catalogue, host: PluginHost, prepared: Prepared) -> Restored | None:
    """The backbone as a module, where the strategy changes it."""
    recipe = prepared.recipe
    if not recipe.strategy.live:
        return None
    restored = restore(catalogue, host, prepared.backbone.digest, recipe.backbone.name)
    recipe.strategy.require_groups(restored.group_names, recipe.backbone.name)
    if recipe.strategy.initial == "random":
        with loop.one_thread(), loop.seeded(recipe.seed, "reset"):
            reset(restored.module)
    if recipe.strategy.lora_rank:
        with loop.one_thread(), loop.seeded(recipe.seed, "adapter"):
            new_adapter.insert(restored, recipe.strategy)
        if prepared.parent is not None and prepared.parent.model.adapter is not None:
            new_adapter.resume(restored, prepared.parent.model.adapter)
    return restored


def _body(prepared: Prepared, restored: Restored | None, team: Team) -> Body | None:
    if restored is None:
        return None
    preprocessor = prepared.backbone.open_preprocessor()
    rows = RowSource(preprocessor, prepared.head_type.reads, prepared.dataset.inputs)
    tap, strategy = restored.identity.tap(prepared.recipe.head.tap), prepared.recipe.strategy
    compute = prepared.recipe.compute
    return Body(
        restored, tap, preprocessor, rows, adapters=bool(strategy.lora_rank), compute=compute, team=team
    )  # fmt: skip


def _unseen(done: int, total: int) -> None:
    """Progress of a pass that nobody waits for long."""


def _extractor(
    catalogue: Catalogue, prepared: Prepared, threads: int, changed: ServableBackbone | None = None
) -> FeatureExtractor:
    backbone, tap = changed or prepared.backbone, prepared.recipe.head.tap
    cache, graph = None, None
    under = prepared.parent.model.adapter if prepared.parent is not None else None
    if under is not None and changed is None:
        graph = AdaptedGraph(under)
    elif prepared.recipe.features.cache:
        root = catalogue.settings.cache
        cache = FeatureCache(root, backbone.digest, tap, backbone.identity.preprocess)
    return FeatureExtractor(backbone, tap, cache, threads=threads, reads=prepared.head_type.reads, graph=graph)


def _source(
    prepared: Prepared, extractor: FeatureExtractor, train: Values, validation: Values
) -> Callable[[], tuple[Values, Values]]:
    """What the loop asks for features each epoch: the cached ones, or the backbone once more."""
    if prepared.recipe.features.cache:
        return lambda: (train, validation)
    dataset, split = prepared.dataset, prepared.split
    # The pass that was made to build the head is the first epoch's: N epochs cost N passes, not N + 1.
    made = [(train, validation)]

    def again() -> tuple[Values, Values]:
        if made:
            return made.pop()
        values = extractor.features(dataset.inputs, lambda done, total: None).values
        return pick(values, split.train), pick(values, split.validation)

    return again


def _build_head(prepared: Prepared, train: Values) -> torch.nn.Module:
    recipe, head_type = prepared.recipe, prepared.head_type
    width = width_of(train)
    options = head_type.resolve_options(width, recipe.head.options)
    with loop.one_thread(), loop.seeded(recipe.seed, "build"):
        head = head_type.build(width, prepared.train, options)
        trainable = any(parameter.requires_grad for parameter in head.parameters())
        if recipe.strategy.live and not trainable:
            raise InvalidInput(
                f"head type {head_type.name!r} has no weights to train, so no gradient tells a backbone what to learn",
                fix="--strategy feature-extraction",
            )
        fit = getattr(head, "fit_input_statistics", None)
        # Statistics of features that move from the first step on would be wrong from the second.
        if callable(fit) and not recipe.strategy.phases[0].live:
            fit(torch.from_numpy(flat(train)))
    if prepared.parent is not None:
        prepared.parent.start(head, head_type.name)
    return head


def read_state(run: RunFolder | Onlooker | Part, head: torch.nn.Module, say: Callable[[str], None]) -> State:
    """Where an interrupted run stands, or the beginning; `say` hears of a checkpoint that cannot be used."""
    data = run.read_checkpoint()
    if data is None:
        return State()
    state = checkpoint.load(data)
    if state is None:
        say("the run's checkpoint is damaged; starting from the first epoch")
        return State()
    shapes = {name: tensor.shape for name, tensor in head.state_dict().items()}
    if {name: tensor.shape for name, tensor in state.head.items() if not name.startswith("body.")} != shapes:
        # The plugin was changed between the two runs.
        say("the run's checkpoint is of another make of this head type; starting from the first epoch")
        return State()
    return state
