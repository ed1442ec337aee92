"""A backbone that goes on learning, from recipe to version: check, train, admit, compare, publish."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from headstock.data.table import Table
from headstock.digest import Digest, short
from headstock.errors import FailedPrecondition
from headstock.finetune.observer import Observer, Trackers
from headstock.finetune.recipe import Recipe
from headstock.finetune.run import RunFolder
from headstock.objectives.prepare import Prepared, prepare
from headstock.objectives.probe import Probe, compare, open_probe
from headstock.objectives.report import Learned, build_report, summary
from headstock.records import Edge, Evidence, Publication, Version, artefact_of
from headstock.report.probed import probe_statement
from headstock.sources.plugin_code import code_evidence

if TYPE_CHECKING:
    from headstock.backbone.restore import Restored
    from headstock.catalogue import Catalogue
    from headstock.finetune.new_backbone import NewBackbone
    from headstock.plugin_host import PluginHost
    from headstock.sources.fetched import Statement


@dataclass(frozen=True, slots=True)
class Continued:
    """What the run made."""

    version: Version
    report: Mapping[str, Any]
    fresh: bool
    """False when the newest version was this very backbone already, and no version was added."""


def continue_backbone(
    catalogue: Catalogue,
    host: PluginHost,
    recipe: Recipe,
    table: Table,
    name: str,
    *,
    observer: Observer | None = None,
    data_licence: str = "",
    probe: Table | None = None,
    probe_columns: Mapping[str, str] | None = None,
    control: bool = True,
) -> Continued:
    """Let the recipe's backbone learn its objective on `table`, and publish it as the next version of backbone `name`.

    Running the same recipe again continues an interrupted run and ends with the same backbone. `probe` is a labelled
    table that both backbones are asked about; `control` also trains the head alone for as long, which tells what the
    backbone itself has gained and costs as many passes without gradient. Raises `InvalidInput` for data that cannot be
    learned from, `FailedPrecondition` if `table` is not the recipe's file or nothing was learned, `Conflict` while
    another process runs the recipe, and `LicenceRefused` before anything is trained if the policy refuses what would
    come of it.
    """
    watcher = observer or Observer()
    began = time.perf_counter()
    prepared = prepare(catalogue, host, recipe, table, name, watcher.say)
    asked = None if probe is None else open_probe(probe, prepared.objective.modality, probe_columns or {})
    stated = _check_licences(catalogue, recipe, name, data_licence, watcher)
    with RunFolder(catalogue.settings.runs, recipe) as run:
        trackers = Trackers(host.callbacks(), watcher.say)
        with trackers.following(recipe, prepared.backbone.identity), catalogue.writing(f"continue {name}"):
            learned, restored, parent = _learn(catalogue, host, prepared, run, watcher, trackers, control)
            made = _admit(catalogue, prepared, restored, parent, watcher)
            report = _report(catalogue, prepared, learned, made, asked, began, watcher)
            outcome = _publish(catalogue, host, name, prepared, made, report, stated)
        run.remove()
    trackers.end(made.servable.identity, report)
    return outcome


def _check_licences(catalogue: Catalogue, recipe: Recipe, name: str, said: str, watcher: Observer) -> Statement:
    from headstock.licences import enforcement
    from headstock.licences.decisions import known_expression

    licence = known_expression(said, "--data-licence") if said else ""
    digest, backbone = Digest(recipe.backbone.digest), recipe.backbone.name
    for warning in enforcement.check_fine_tune(catalogue, digest, backbone, name, recipe.data.name, licence, True):
        watcher.say(f"warning: {warning}")
    return enforcement.data_statement(licence, said)


def _learn(
    catalogue: Catalogue,
    host: PluginHost,
    prepared: Prepared,
    run: RunFolder,
    watcher: Observer,
    trackers: Trackers,
    control: bool,
) -> tuple[Learned, Restored, Mapping[str, Digest]]:
    """The loop, from the last checkpoint on; the module ends with the best weights. Last: its groups before."""
    from headstock.finetune import checkpoint, loop
    from headstock.finetune.checkpoint import State
    from headstock.finetune.new_backbone import group_digests
    from headstock.finetune.training import read_state
    from headstock.objectives.control import head_alone
    from headstock.objectives.posed import pose

    recipe = prepared.recipe
    restored = _restore(catalogue, host, recipe)
    parent = group_digests(restored)
    posed = pose(prepared, restored)
    head = posed.head(recipe.seed)
    before = posed.exercise.measure(head)
    state = read_state(run, head, watcher.say)
    resumed = len(state.history)
    if resumed:
        watcher.say(f"resuming run {short(recipe.digest)} after epoch {resumed} of at most {recipe.strategy.epochs}")

    def after_epoch(now: State) -> None:
        run.write_checkpoint(checkpoint.dump(now))
        # First: whoever watches may interrupt the run, and this epoch is not told again.
        trackers.epoch(len(now.history), now.history[-1])
        watcher.epoch(now.history[-1])

    watcher.start(recipe, resumed)
    try:
        loop.train(posed.job(recipe), head, state, after_epoch)
    finally:
        watcher.end()
    parameters = sum(parameter.numel() for parameter in restored.module.parameters())
    after, alone = posed.exercise.measure(head), None
    if control:
        watcher.say("training the head alone for as long, to compare")
        alone = head_alone(prepared, _restore(catalogue, host, recipe))
    return Learned(before, alone, after, state, posed.pieces, len(posed.validation), parameters), restored, parent


def _restore(catalogue: Catalogue, host: PluginHost, recipe: Recipe) -> Restored:
    from headstock.backbone.restore import restore
    from headstock.finetune import loop
    from headstock.finetune.reset import reset

    restored = restore(catalogue, host, Digest(recipe.backbone.digest), recipe.backbone.name)
    recipe.strategy.require_groups(restored.group_names, recipe.backbone.name)
    if recipe.strategy.initial == "random":
        with loop.one_thread(), loop.seeded(recipe.seed, "reset"):
            reset(restored.module)
    return restored


def _admit(
    catalogue: Catalogue, prepared: Prepared, restored: Restored, parent: Mapping[str, Digest], watcher: Observer
) -> NewBackbone:
    from headstock.finetune.new_backbone import admit, is_changed

    if not is_changed(restored):
        raise FailedPrecondition(
            f"the weights of {prepared.recipe.backbone.name!r} are what they were, so there is nothing to publish",
            fix="more --epochs, or a higher --backbone-lr",
        )
    return admit(catalogue, prepared.backbone, restored, parent, watcher.say)


def _report(
    catalogue: Catalogue,
    prepared: Prepared,
    learned: Learned,
    made: NewBackbone,
    probe: Probe | None,
    began: float,
    watcher: Observer,
) -> dict[str, Any]:
    found = None
    if probe is not None:
        watcher.say(f"probing both backbones on {probe.name}")
        found = compare(catalogue, probe, prepared.backbone, made.servable, prepared.recipe.seed, watcher)
    return build_report(prepared, learned, made, found, time.perf_counter() - began)


def _publish(
    catalogue: Catalogue,
    host: PluginHost,
    name: str,
    prepared: Prepared,
    made: NewBackbone,
    report: Mapping[str, Any],
    stated: Statement,
) -> Continued:
    newest = catalogue.versions(name)[:1]
    artefact, recipe, dataset = made.admitted.artefact, prepared.recipe, prepared.dataset()
    store = catalogue.store
    kept = {"recipe": store.put_json(recipe.to_json()), "report": store.put_json(dict(report))}
    backbone = replace(artefact, files={**artefact.files, **kept})
    manifest = host.plugin_of_objective(prepared.objective.name)
    plugin = artefact_of(
        "plugin", {"kind": "plugin", "distribution": manifest.distribution, "version": manifest.version}
    )
    version = catalogue.publish(
        Publication(
            name=name,
            kind="backbone",
            subject=backbone.digest,
            artefacts=(backbone, dataset, plugin),
            edges=(
                *made.edges(dataset.digest, recipe.strategy.initial),
                Edge(backbone.digest, "built_by_plugin", plugin.digest),
            ),
            evidence=(
                stated.about(dataset.digest),
                made.evidence(),
                *code_evidence(plugin),
                *_probed(backbone.digest, recipe, report),
            ),
            certificates=made.certificates,
            details=summary(prepared, report),
        )
    )
    return Continued(version, report, fresh=not newest or newest[0].number != version.number)


def _probed(backbone: Digest, recipe: Recipe, report: Mapping[str, Any]) -> list[Evidence]:
    found = report["probe"]
    return [] if found is None else [probe_statement(backbone, found, recipe.backbone.name)]
