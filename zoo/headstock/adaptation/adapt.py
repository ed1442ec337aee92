"""An adaptation from two tables to a version: check, extract features, compare methods, publish the chosen head."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from headstock.adaptation.compare import Comparison, compare, compared
from headstock.adaptation.domains import Domains
from headstock.adaptation.journal import RunJournal
from headstock.adaptation.plan import choice_of, require_head_type, require_target, seeds_of, settings_of
from headstock.adaptation.publication import AdaptedModel, publish_adapted, served_graph
from headstock.data.artefact import dataset_artefact
from headstock.data.dataset import read_inputs
from headstock.data.inputs import RawInputs
from headstock.data.roles import input_roles
from headstock.data.table import Table
from headstock.errors import InvalidInput
from headstock.finetune.feature_cache import FeatureCache
from headstock.finetune.features import FeatureExtractor
from headstock.finetune.observer import Observer, Trackers
from headstock.finetune.prepare import Prepared, prepare
from headstock.finetune.recipe import Recipe
from headstock.finetune.report import environment
from headstock.finetune.run import RunFolder
from headstock.records import Version

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.plugin_host import PluginHost
    from headstock.sources.fetched import Statement

_FEWEST = 10
"""Target rows below which no distribution can be told."""


@dataclass(frozen=True, slots=True)
class Adaptation:
    """What an adaptation made."""

    version: Version
    comparison: Comparison
    report: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Licences:
    """What the caller says the two data sets are under: SPDX expressions, or empty."""

    source: str = ""
    target: str = ""


def adapt(
    catalogue: Catalogue,
    host: PluginHost,
    recipe: Recipe,
    table: Table,
    target: Table,
    name: str,
    *,
    observer: Observer | None = None,
    licences: Licences | None = None,
) -> Adaptation:
    """Publish the head that the validators choose as the next version of `name`; the backbone stays what it is.

    Running the same recipe again continues an interrupted run and ends with the same head.

    `recipe` is one of `plan_adaptation`; `target` needs the input column only, and a label column there is never read.
    Raises `InvalidInput` for data or a head type that cannot be adapted, `FailedPrecondition` for data that is not the
    recipe's, `Conflict` while another process runs the recipe, `LicenceRefused` before anything is trained.
    """
    watcher, said, began = observer or Observer(), licences or Licences(), time.perf_counter()
    choice = choice_of(recipe)
    settings = settings_of(recipe)
    require_target(recipe, target)
    prepared = prepare(catalogue, host, recipe, table, name, watcher.say)
    require_head_type(prepared.head_type)
    inputs = _target_inputs(prepared, target)
    stated = [
        _check_licence(catalogue, recipe, name, one, licence, watcher)
        for one, licence in ((table.name, said.source), (target.name, said.target))
    ]
    domains = _domains(catalogue, prepared, inputs, watcher)
    trackers = Trackers(host.callbacks(), watcher.say)
    with RunFolder(catalogue.settings.runs, recipe) as run, trackers.following(recipe, prepared.backbone.identity):
        journal = RunJournal(run, recipe, compared(choice.methods), seeds_of(recipe), watcher, trackers)
        try:
            comparison = compare(domains, choice.methods, seeds_of(recipe), settings, journal)
        finally:
            watcher.end()
        graph, parity = served_graph(comparison.head, domains.target)
        report = _report(prepared, target, comparison)
        report |= {"parity": parity, "seconds": {"total": round(time.perf_counter() - began, 3)}}
        model = AdaptedModel(
            recipe.head.type,
            prepared.backbone.digest,
            recipe.head.tap,
            comparison.head,
            prepared.head_type.postprocess(prepared.targets, recipe.head.options),
            report,
            _details(report),
            recipe,
        )
        data_sets = [dataset_artefact(table, recipe.data.sha256), dataset_artefact(target, choice.target.sha256)]
        evidence = [one.about(artefact.digest) for one, artefact in zip(stated, data_sets, strict=True)]
        version = publish_adapted(catalogue, host, name, model, graph, data_sets, evidence)
        run.remove()
    trackers.end(prepared.backbone.identity, report)
    return Adaptation(version, comparison, report)


def _target_inputs(prepared: Prepared, target: Table) -> RawInputs:
    roles, columns = input_roles(prepared.head_type), prepared.recipe.data.columns
    unused = tuple(columns[role] for role in prepared.head_type.columns if columns.get(role) in target.columns)
    inputs = read_inputs(target, choice_of(prepared.recipe).target.columns, roles, unused)
    if len(inputs) < _FEWEST:
        raise InvalidInput(f"{target.name!r} has {len(inputs)} rows; adaptation needs at least {_FEWEST} of the target")
    return inputs


def _check_licence(
    catalogue: Catalogue, recipe: Recipe, name: str, data: str, said: str, watcher: Observer
) -> Statement:
    from headstock.digest import Digest
    from headstock.licences import enforcement
    from headstock.licences.decisions import known_expression

    licence = known_expression(said, "--data-licence") if said else ""
    digest, backbone = Digest(recipe.backbone.digest), recipe.backbone.name
    for warning in enforcement.check_fine_tune(catalogue, digest, backbone, name, data, licence):
        watcher.say(f"warning: {warning}")
    return enforcement.data_statement(licence, said)


def _domains(catalogue: Catalogue, prepared: Prepared, inputs: RawInputs, watcher: Observer) -> Domains:
    backbone, tap = prepared.backbone, prepared.recipe.head.tap
    cache = FeatureCache(catalogue.settings.cache, backbone.digest, tap, backbone.identity.preprocess)
    extractor = FeatureExtractor(backbone, tap, cache, reads=prepared.head_type.reads)
    source = np.asarray(extractor.features(prepared.dataset.inputs, watcher.features).values, np.float32)
    target = np.asarray(extractor.features(inputs, watcher.features).values, np.float32)
    split, labels = prepared.split, prepared.targets.values.astype(np.int64)
    train, held_out = list(split.train), list(split.validation)
    classes = len(prepared.targets.labels)
    return Domains(source[train], labels[train], source[held_out], labels[held_out], target, classes)


def _report(prepared: Prepared, target: Table, comparison: Comparison) -> dict[str, Any]:
    recipe, split = prepared.recipe, prepared.split
    return {
        "format": 1,
        "head_type": recipe.head.type,
        "task": prepared.head_type.task,
        "input": input_roles(prepared.head_type)[0],
        "backbone": {"name": recipe.backbone.name, "digest": recipe.backbone.digest, "tap": recipe.head.tap},
        "strategy": f"adaptation: {comparison.chosen}",
        "labels": list(prepared.targets.labels),
        "data": {
            "name": prepared.table.name,
            "sha256": recipe.data.sha256,
            "rows": len(prepared.table),
            "train": len(split.train),
            "validation": len(split.validation),
        },
        "target": {"name": target.name, "rows": len(target)},
        "recipe": recipe.digest,
        "seed": recipe.seed,
        "seeds": list(seeds_of(recipe)),
        "settings": _settings(recipe),
        "adaptation": comparison.to_json(),
        "environment": environment(),
    }


def _settings(recipe: Recipe) -> dict[str, Any]:
    choice, phases = choice_of(recipe), recipe.strategy.phases
    return {
        "epochs": recipe.strategy.epochs,
        "batch_size": recipe.optimizer.batch_size,
        "learning_rate": max(phase.learning_rate for phase in phases),
        "hidden": choice.hidden,
        "strength": choice.strength,
    }


def _details(report: dict[str, Any]) -> dict[str, Any]:
    found = report["adaptation"]
    return {
        "head_type": report["head_type"],
        "backbone": report["backbone"]["name"],
        "tap": report["backbone"]["tap"],
        "strategy": report["strategy"],
        "data": report["data"]["name"],
        "target": report["target"]["name"],
        "labels": report["labels"],
        "seed": report["seed"],
        "recipe": report["recipe"],
        "adaptation": {
            **{key: found[key] for key in ("verdict", "reasons", "chosen")},
            "label_shift": found["label_shift"]["flagged"],
        },
    }
