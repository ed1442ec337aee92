"""An alignment from recipe to two versions: features, projections, towers in a new space, both published."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstock.data.dataset import read_inputs
from headstock.data.inputs import RawInputs
from headstock.data.split import Split, split_rows
from headstock.data.table import Table
from headstock.errors import AlreadyExists
from headstock.finetune.feature_cache import FeatureCache
from headstock.finetune.features import FeatureExtractor
from headstock.finetune.made import check_licences
from headstock.finetune.observer import Observer, Trackers
from headstock.finetune.recipe import Recipe
from headstock.finetune.run import RunFolder
from headstock.hookspecs import Targets
from headstock.names import check_name
from headstock.records import Version
from headstock_multimodal.align.plan import TAPPED
from headstock_multimodal.align.publication import dataset_of, publish
from headstock_multimodal.align.report import build_report, measure
from headstock_multimodal.heads.towers import Tower, require_same_space
from headstock_multimodal.space import space_of

if TYPE_CHECKING:
    from headstock.backbone.restore import Restored
    from headstock.catalogue import Catalogue
    from headstock.finetune.new_backbone import NewBackbone
    from headstock.plugin_host import PluginHost
    from headstock.sources.fetched import Statement
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
    image: Tower,
    text: Tower,
    name: str,
    *,
    observer: Observer | None = None,
    data_licence: str = "",
) -> Aligned:
    """Tune both projections and the temperature on pairs, and publish the towers as `NAME-image` and `NAME-text`.

    The towers themselves stay frozen, so each image and text meets its tower once, ever. Both new backbones name a new
    space: neither compares with what the old ones made. Raises `DigestMismatch` for towers of different spaces,
    `InvalidInput` for pairs that cannot be learned from, `LicenceRefused` before anything is trained.
    """
    watcher, began = observer or Observer(), time.perf_counter()
    names = {"image": f"{name}-image", "text": f"{name}-text"}
    for one in names.values():
        _check_free(catalogue, one)
    space = require_same_space(image, text)
    stated = _check_licences(catalogue, (image, text), name, table, data_licence, watcher)
    from headstock.backbone.restore import restore
    from headstock_multimodal.align.pairs import PairTask, Projections

    towers = {"image": image, "text": text}
    restored = {role: restore(catalogue, host, tower.digest, tower.name) for role, tower in towers.items()}
    weights = {role: restored[role].module.state_dict()[_WEIGHTS[role]].clone() for role in towers}
    task = PairTask(Projections(weights["image"], weights["text"], float(space["logit_scale"])))
    pairs = _pairs(recipe, table, task)
    with RunFolder(catalogue.settings.runs, recipe) as run, catalogue.writing(f"align {name}"):
        features = _features(catalogue, towers, pairs, watcher)
        before, head, history = _train(recipe, task, pairs, features, run, watcher, host)
        rows = list(pairs.split.validation)
        retrieval = measure((before, head), features[rows], pairs.targets.only(rows))
        report = build_report(recipe, table, towers, pairs.split, retrieval, history, time.perf_counter() - began)
        made = _admit(catalogue, towers, restored, head.projections(), watcher.say)
        dataset = dataset_of(table, recipe)
        versions = {
            role: publish(catalogue, host, names[role], role, towers, made[role], recipe, report, dataset, stated)
            for role in towers
        }
        run.remove()
    return Aligned(versions["image"], versions["text"], report)


def _check_free(catalogue: Catalogue, name: str) -> None:
    check_name(name)
    if (taken := catalogue.versions(name)[:1]) and taken[0].kind != "backbone":
        raise AlreadyExists(f"{name!r} is a {taken[0].kind}; this makes a backbone", fix="another --name")


def _check_licences(
    catalogue: Catalogue, towers: tuple[Tower, Tower], name: str, table: Table, said: str, watcher: Observer
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


def _train(
    recipe: Recipe,
    task: PairTask,
    pairs: _Pairs,
    features: npt.NDArray[np.float32],
    run: RunFolder,
    watcher: Observer,
    host: PluginHost,
) -> tuple[Pairing, Pairing, list[dict[str, Any]]]:
    """The projections before and after, and the epochs between, from the last checkpoint on."""
    from headstock.finetune import checkpoint, loop
    from headstock.finetune.checkpoint import State
    from headstock.finetune.training import read_state
    from headstock_multimodal.align.pairs import Pairing

    before, head = (task.build(features.shape[1], pairs.targets, {}) for _ in range(2))
    if not isinstance(before, Pairing) or not isinstance(head, Pairing):
        raise TypeError("this is a bug: a PairTask builds Pairings")
    sides = [features[list(rows)] for rows in (pairs.split.train, pairs.split.validation)]
    targets = [pairs.targets.only(rows) for rows in (pairs.split.train, pairs.split.validation)]
    state = read_state(run, head, watcher.say)
    trackers = Trackers(host.callbacks(), watcher.say)
    trackers.start(recipe.to_json())

    def after_epoch(now: State) -> None:
        run.write_checkpoint(checkpoint.dump(now))
        watcher.epoch(now.history[-1])
        trackers.epoch(len(now.history), now.history[-1])

    watcher.start(recipe, len(state.history))
    try:
        job = loop.Job(recipe, task, lambda: (sides[0], sides[1]), targets[0], targets[1])
        loop.train(job, head, state, after_epoch)
    finally:
        watcher.end()
    return before.eval(), head, state.history


def _admit(
    catalogue: Catalogue,
    towers: Mapping[str, Tower],
    restored: Mapping[str, Restored],
    found: Projections,
    say: Callable[[str], None],
) -> dict[str, NewBackbone]:
    """Both towers with what was learned, in the space that it makes."""
    import torch

    from headstock.finetune.new_backbone import admit, group_digests

    learned = {"image": found.image, "text": found.text}
    scale = torch.tensor(found.logit_scale)
    space = space_of({**{_AXES[r]: learned[r] for r in _AXES}, "logit_scale": scale}, "the alignment")
    made = {}
    for role, tower in towers.items():
        parent = group_digests(restored[role])
        with torch.no_grad():
            restored[role].module.state_dict()[_WEIGHTS[role]].copy_(learned[role])
        architecture = {**restored[role].identity.architecture, "space": space}
        made[role] = admit(catalogue, tower.backbone, restored[role], parent, say, architecture)
    return made
