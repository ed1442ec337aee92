"""Features, head and loop put together: from prepared data to a trained head, continuing an interrupted run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from headstock.digest import short
from headstock.finetune import checkpoint, loop
from headstock.finetune.checkpoint import State
from headstock.finetune.feature_cache import FeatureCache
from headstock.finetune.features import FeatureExtractor, FeatureSet
from headstock.finetune.observer import Observer, Trackers
from headstock.finetune.prepare import Prepared
from headstock.finetune.run import RunFolder
from headstock.finetune.values import Values, flat, pick, width_of

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class Trained:
    """The loop's result with what the report needs."""

    head: torch.nn.Module
    """With the best weights."""
    state: State
    features: FeatureSet
    """Of all rows of the table."""
    train: Values
    validation: Values
    resumed: int
    """Epochs that an earlier, interrupted run had done."""
    seconds: Mapping[str, float]


def train_head(
    catalogue: Catalogue,
    prepared: Prepared,
    run: RunFolder,
    watcher: Observer,
    trackers: Trackers,
    threads: int,
) -> Trained:
    """Compute what features are missing, build the head, and run the loop from the last checkpoint."""
    recipe = prepared.recipe
    began = time.perf_counter()
    try:
        extractor = _extractor(catalogue, prepared, threads)
        dataset, split = prepared.dataset, prepared.split
        features = extractor.features(dataset.inputs, watcher.features)
        train, validation = pick(features.values, split.train), pick(features.values, split.validation)
        extracted = time.perf_counter() - began
        head = _build_head(prepared, train)
        state = _read_state(run, head, watcher.say)
        resumed = len(state.history)
        if resumed:
            most = recipe.strategy.epochs
            watcher.say(f"resuming run {short(recipe.digest)} after epoch {resumed} of at most {most}")

        def after_epoch(now: State) -> None:
            run.write_checkpoint(checkpoint.dump(now))
            watcher.epoch(now.history[-1])
            trackers.epoch(len(now.history), now.history[-1])

        source = _source(prepared, extractor, train, validation)
        job = loop.Job(recipe, prepared.head_type, source, prepared.train, prepared.validation)
        watcher.start(recipe, resumed)
        loop.train(job, head, state, after_epoch)
    finally:
        watcher.end()
    seconds = {"features": extracted, "training": time.perf_counter() - began - extracted}
    return Trained(head, state, features, train, validation, resumed, seconds)


def _extractor(catalogue: Catalogue, prepared: Prepared, threads: int) -> FeatureExtractor:
    backbone, tap = prepared.backbone, prepared.recipe.head.tap
    cache = None
    if prepared.recipe.features.cache:
        root = catalogue.settings.cache
        cache = FeatureCache(root, backbone.digest, tap, backbone.identity.preprocess)
    return FeatureExtractor(backbone, tap, cache, threads=threads, reads=prepared.head_type.reads)


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
        fit = getattr(head, "fit_input_statistics", None)
        if callable(fit):
            fit(torch.from_numpy(flat(train)))
    return head


def _read_state(run: RunFolder, head: torch.nn.Module, say: Callable[[str], None]) -> State:
    data = run.read_checkpoint()
    if data is None:
        return State()
    state = checkpoint.load(data)
    if state is None:
        say("the run's checkpoint is damaged; starting from the first epoch")
        return State()
    shapes = {name: tensor.shape for name, tensor in head.state_dict().items()}
    if {name: tensor.shape for name, tensor in state.head.items()} != shapes:
        # The plugin was changed between the two runs.
        say("the run's checkpoint is of another make of this head type; starting from the first epoch")
        return State()
    return state
