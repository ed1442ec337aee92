"""An alignment from recipe to two versions: features, what learns, towers in a new space, both published."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstock.data.artefact import dataset_artefact
from headstock.data.dataset import read_inputs
from headstock.data.inputs import RawInputs
from headstock.data.split import Split, split_rows
from headstock.data.table import Table
from headstock.digest import Digest, short
from headstock.errors import AlreadyExists
from headstock.finetune.feature_cache import FeatureCache
from headstock.finetune.features import FeatureExtractor
from headstock.finetune.made import check_licences
from headstock.finetune.observer import Observer, Trackers
from headstock.finetune.recipe import Recipe
from headstock.finetune.run import RunFolder
from headstock.hookspecs import Targets
from headstock.names import check_name
from headstock.objectives.prepare import require_data
from headstock.records import Version
from headstock_multimodal.align.plan import ROLES, TAPPED, towers_of
from headstock_multimodal.align.publication import publish
from headstock_multimodal.align.report import build_report, measure
from headstock_multimodal.heads.towers import Tower, require_same_space
from headstock_multimodal.space import moved_space, space_of

if TYPE_CHECKING:
    from headstock.backbone.restore import Restored
    from headstock.catalogue import Catalogue
    from headstock.finetune.new_backbone import NewBackbone
    from headstock.plugin_host import PluginHost
    from headstock.sources.fetched import Statement
    from headstock_multimodal.align.body import TowersBody
    from headstock_multimodal.align.pairs import Pairing, PairTask, Projections

_WEIGHTS = {"image": "clip.visual_projection.weight", "text": "clip.text_projection.weight"}
_AXES = {"image": "visual_projection.weight", "text": "text_projection.weight"}
"""The same in a checkpoint, by which a space is named."""


@dataclass(frozen=True, slots=True)
class Aligned:
    """What an alignment made."""

    image: Version
    text: Version
    report: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Rows of a table of pairs."""

    images: RawInputs
    texts: RawInputs
    targets: Targets
    split: Split


def align(
    catalogue: Catalogue,
    host: PluginHost,
    recipe: Recipe,
    table: Table,
    name: str,
    *,
    observer: Observer | None = None,
    data_licence: str = "",
) -> Aligned:
    """Tune both projections and the temperature on pairs, and publish the towers as `NAME-image` and `NAME-text`.

    Layer groups that the recipe's strategy names learn too; where it names none the towers stay frozen, and each image
    and text meets its tower once, ever. Both new backbones name a new space: neither compares with what the old ones
    made. Running the same recipe again continues an interrupted run and ends with the same towers. Raises
    `DigestMismatch` for towers of different spaces, `FailedPrecondition` if `table` is not the recipe's file,
    `InvalidInput` for pairs that cannot be learned from, `LicenceRefused` before anything is trained.
    """
    watcher, began = observer or Observer(), time.perf_counter()
    names = {"image": f"{name}-image", "text": f"{name}-text"}
    for one in names.values():
        _check_free(catalogue, one)
    towers = towers_of(catalogue, recipe)
    require_data(recipe, table)
    space = require_same_space(towers["image"], towers["text"])
    stated = _check_licences(catalogue, list(towers.values()), name, table, data_licence, watcher)
    from headstock.backbone.restore import restore
    from headstock.finetune.new_backbone import group_digests
    from headstock_multimodal.align.body import groups_of
    from headstock_multimodal.align.pairs import PairTask, Projections

    restored = {role: restore(catalogue, host, tower.digest, tower.name) for role, tower in towers.items()}
    weights = {role: restored[role].module.state_dict()[_WEIGHTS[role]].clone() for role in towers}
    task = PairTask(Projections(weights["image"], weights["text"], float(space["logit_scale"])))
    recipe.strategy.require_groups([group.name for group in groups_of(restored)], name)
    pairs = _pairs(recipe, table, task)
    body = _body(recipe, towers, restored, pairs)
    parents = {role: group_digests(one) for role, one in restored.items()}
    trackers = Trackers(host.callbacks(), watcher.say)
    with (
        RunFolder(catalogue.settings.runs, recipe) as run,
        trackers.following(recipe, towers["image"].backbone.identity),
        catalogue.writing(f"align {name}"),
    ):
        features = _features(catalogue, towers, pairs, watcher)
        before, head, history = _train(recipe, task, pairs, features, body, run, watcher, trackers)
        rows = list(pairs.split.validation)
        seen = features[rows], features[rows] if body is None else _now(body, rows, recipe)
        retrieval = measure((before, head), seen, pairs.targets.only(rows))
        report = build_report(recipe, table, towers, pairs.split, retrieval, history, time.perf_counter() - began)
        made = _admit(catalogue, towers, restored, parents, head.projections(), body is not None, watcher.say)
        dataset = dataset_artefact(table, recipe.data.sha256)
        versions = {
            role: publish(catalogue, host, names[role], role, towers, made[role], recipe, report, dataset, stated)
            for role in towers
        }
        run.remove()
    trackers.end(made["image"].servable.identity, report)
    return Aligned(versions["image"], versions["text"], report)


def _check_free(catalogue: Catalogue, name: str) -> None:
    check_name(name)
    if (taken := catalogue.versions(name)[:1]) and taken[0].kind != "backbone":
        raise AlreadyExists(f"{name!r} is a {taken[0].kind}; this makes a backbone", fix="another --name")


def _check_licences(
    catalogue: Catalogue, towers: Sequence[Tower], name: str, table: Table, said: str, watcher: Observer
) -> Statement:
    from headstock.licences import enforcement
    from headstock.licences.decisions import known_expression

    licence = known_expression(said, "--data-licence") if said else ""
    warnings = check_licences(catalogue, towers, name)
    for tower in towers:
        warnings += enforcement.check_fine_tune(catalogue, tower.digest, tower.name, name, table.name, licence, True)
    for warning in dict.fromkeys(warnings):
        watcher.say(f"warning: {warning}")
    return enforcement.data_statement(licence, said)


def _pairs(recipe: Recipe, table: Table, task: PairTask) -> _Pairs:
    images, texts = (read_inputs(table, recipe.data.columns, (role,)) for role in ("image", "text"))
    targets = task.encode({"image": images.samples, "text": texts.samples})
    # All pairs of one image stand on one side; an unseen image may have a caption that was seen.
    return _Pairs(images, texts, targets, split_rows(recipe.split, table, images.samples, None))


def _features(
    catalogue: Catalogue, towers: Mapping[str, Tower], pairs: _Pairs, watcher: Observer
) -> npt.NDArray[np.float32]:
    """Pooled features of both towers side by side, [pairs, image + text]."""
    parts = []
    for role, inputs in (("image", pairs.images), ("text", pairs.texts)):
        tower = towers[role]
        cache = FeatureCache(catalogue.settings.cache, tower.digest, TAPPED, tower.backbone.identity.preprocess)
        extractor = FeatureExtractor(tower.backbone, TAPPED, cache)
        parts.append(np.asarray(extractor.features(inputs, watcher.features).values, np.float32))
    return np.concatenate(parts, axis=1)


def _body(
    recipe: Recipe, towers: Mapping[str, Tower], restored: Mapping[str, Restored], pairs: _Pairs
) -> TowersBody | None:
    """Both towers in training, where the strategy lets a part of them learn."""
    from headstock_multimodal.align.body import TowersBody

    if not recipe.strategy.live:
        return None
    return TowersBody(towers, restored, {"image": pairs.images, "text": pairs.texts})


def _now(body: TowersBody, rows: Sequence[int], recipe: Recipe) -> npt.NDArray[np.float32]:
    """Pooled features of these pairs as the towers compute them now."""
    from headstock.finetune import loop

    with loop.one_thread():
        return np.asarray(body.values(rows, recipe.optimizer.batch_size), np.float32)


def _train(
    recipe: Recipe,
    task: PairTask,
    pairs: _Pairs,
    features: npt.NDArray[np.float32],
    body: TowersBody | None,
    run: RunFolder,
    watcher: Observer,
    trackers: Trackers,
) -> tuple[Pairing, Pairing, list[dict[str, Any]]]:
    """The projections before and after, and the epochs between, from the last checkpoint on."""
    from headstock.finetune import checkpoint, loop
    from headstock.finetune.checkpoint import State
    from headstock.finetune.training import read_state
    from headstock_multimodal.align.pairs import Pairing

    before, head = (task.build(features.shape[1], pairs.targets, {}) for _ in range(2))
    if not isinstance(before, Pairing) or not isinstance(head, Pairing):
        raise TypeError("this is a bug: a PairTask builds Pairings")
    train, validation = pairs.split.train, pairs.split.validation
    sides = features[list(train)], features[list(validation)]
    state = read_state(run, head, watcher.say)
    if done := len(state.history):
        watcher.say(f"resuming run {short(recipe.digest)} after epoch {done} of at most {recipe.strategy.epochs}")

    def after_epoch(now: State) -> None:
        run.write_checkpoint(checkpoint.dump(now))
        watcher.epoch(now.history[-1])
        trackers.epoch(len(now.history), now.history[-1])

    watcher.start(recipe, len(state.history))
    try:
        targets = pairs.targets.only(train), pairs.targets.only(validation)
        job = loop.Job(recipe, task, lambda: sides, *targets, body, train, validation)
        loop.train(job, head, state, after_epoch)
    finally:
        watcher.end()
    return before.eval(), head, state.history


def _admit(
    catalogue: Catalogue,
    towers: Mapping[str, Tower],
    restored: Mapping[str, Restored],
    parents: Mapping[str, Mapping[str, Digest]],
    found: Projections,
    moved: bool,
    say: Callable[[str], None],
) -> dict[str, NewBackbone]:
    """Both towers with what was learned, in the space that it makes; `moved` if more than the projections learned."""
    import torch

    from headstock.backbone.identity import weights_digest
    from headstock.finetune.new_backbone import admit

    learned = {"image": found.image, "text": found.text}
    scale = torch.tensor(found.logit_scale)
    space = space_of({**{_AXES[r]: learned[r] for r in _AXES}, "logit_scale": scale}, "the alignment")
    for role in towers:
        with torch.no_grad():
            restored[role].module.state_dict()[_WEIGHTS[role]].copy_(learned[role])
    if moved:
        # Projections name the axes, and what stands before them says where on these a sample lies.
        space = moved_space(space, [weights_digest(restored[role].module) for role in ROLES])
    return {
        role: admit(
            catalogue,
            tower.backbone,
            restored[role],
            parents[role],
            say,
            {**restored[role].identity.architecture, "space": space},
        )
        for role, tower in towers.items()
    }
