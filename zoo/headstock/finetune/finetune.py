"""A fine-tune from recipe to version: check, train, compare with the served form, publish."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from headstock.data.artefact import dataset_artefact
from headstock.data.table import Table
from headstock.digest import Digest
from headstock.errors import FailedPrecondition, InvalidInput
from headstock.finetune import report as reports
from headstock.finetune.lesson import open_lesson
from headstock.finetune.observer import Observer, Trackers
from headstock.finetune.prepare import Prepared, prepare, require_backbone
from headstock.finetune.recipe import Recipe
from headstock.finetune.run import Onlooker, RunFolder
from headstock.finetune.values import flat, width_of
from headstock.records import Artefact, Version
from headstock.report import Assessment, assess

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.finetune.training import Trained
    from headstock.plugin_host import PluginHost
    from headstock.sources.fetched import Statement


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a fine-tune made."""

    version: Version
    head: Digest
    report: Mapping[str, Any]
    """Of this run; what the catalogue keeps is the report of the run that added the version."""
    fresh: bool
    """False when the newest version was this very model already, and no version was added."""


def fine_tune(
    catalogue: Catalogue,
    host: PluginHost,
    recipe: Recipe,
    table: Table,
    name: str,
    *,
    observer: Observer | None = None,
    threads: int = 1,
    data_licence: str = "",
    assessment: Assessment | None = None,
    replay: Table | None = None,
) -> Outcome:
    """Train what `recipe` says on `table` and publish it as the next version of `name`.

    Running the same recipe again continues an interrupted run and ends with the same head. `threads` backbone
    batches run side by side; no result depends on it. Raises `InvalidInput` for data that cannot train the head,
    `FailedPrecondition` if `table` is not the recipe's file, and `Conflict` while another process runs the recipe.
    `data_licence` is what the caller says `table` is under, an SPDX expression; `LicenceRefused` before anything is
    trained if the policy refuses the model. `replay` is what the recipe's parent was trained on.
    """
    watcher = observer or Observer()
    began = time.perf_counter()
    asked = assessment or Assessment()
    asked.check(table)
    _require_own(recipe)
    require_backbone(catalogue, recipe)
    # Before the lesson: asking a teacher about every row is a use of it already.
    stated = _check_licences(catalogue, recipe, name, data_licence, watcher)
    table, lesson = open_lesson(catalogue, host, recipe, table)
    prepared = prepare(catalogue, host, recipe, table, name, watcher.say, replay, lesson)
    _require_torch()
    from headstock.finetune.training import train_head

    with RunFolder(catalogue.settings.runs, recipe) as run:
        trackers = Trackers(host.callbacks(), watcher.say)
        # From here, as a strategy may put a new backbone into the store before the head is published on it.
        with trackers.following(recipe, prepared.backbone.identity), catalogue.writing(f"fine-tune {name}"):
            trained = train_head(catalogue, host, prepared, run, watcher, trackers, threads)
            outcome = _publish(catalogue, host, name, prepared, trained, began, stated, asked, watcher)
        run.remove()
    trackers.end(prepared.backbone.identity, outcome.report)
    return outcome


def assist(
    catalogue: Catalogue, host: PluginHost, recipe: Recipe, table: Table, name: str, replay: Table | None = None
) -> None:
    """What `fine_tune` does in a process that another one leads: train its part of every batch, and keep nothing."""
    from headstock.finetune.training import train_head

    table, lesson = open_lesson(catalogue, host, recipe, table)
    silent = Observer()
    prepared = prepare(catalogue, host, recipe, table, name, silent.say, replay, lesson)
    run = Onlooker(catalogue.settings.runs, recipe)
    train_head(catalogue, host, prepared, run, silent, Trackers((), silent.say), threads=1)


def _check_licences(catalogue: Catalogue, recipe: Recipe, name: str, said: str, watcher: Observer) -> Statement:
    """Ask whether the model may be made before anything is spent on it; returns what was said about the data."""
    from headstock.licences import enforcement
    from headstock.licences.decisions import known_expression

    licence = known_expression(said, "--data-licence") if said else ""
    digest, backbone = Digest(recipe.backbone.digest), recipe.backbone.name
    for warning in enforcement.check_fine_tune(
        catalogue,
        digest,
        backbone,
        name,
        recipe.data.name,
        licence,
        recipe.strategy.changes_backbone,
        teacher=Digest(recipe.teacher.digest) if recipe.teacher else None,
        parent=Digest(recipe.parent.digest) if recipe.parent else None,
    ):
        watcher.say(f"warning: {warning}")
    return enforcement.data_statement(licence, said)


def _require_own(recipe: Recipe) -> None:
    if recipe.adaptation is not None:
        raise InvalidInput(
            "the recipe is one of headstock adapt: it needs the unlabelled data too",
            fix="headstock adapt --recipe RECIPE --data FILE --target FILE --name NAME",
        )


def _require_torch() -> None:
    try:
        import torch  # noqa: F401 - asked for here, so that its absence is told in words
    except ImportError as error:
        raise FailedPrecondition(
            "torch is not installed, and training needs it", fix="pip install 'headstock[train]'"
        ) from error


def _publish(
    catalogue: Catalogue,
    host: PluginHost,
    name: str,
    prepared: Prepared,
    trained: Trained,
    began: float,
    stated: Statement,
    asked: Assessment,
    watcher: Observer,
) -> Outcome:
    from headstock.finetune import distilled, forgetting, loop, publish

    recipe, head_type = prepared.recipe, prepared.head_type
    options = head_type.resolve_options(width_of(trained.train), recipe.head.options)
    spec = head_type.postprocess(prepared.targets, options)
    served = publish.served_form(head_type, trained.head, spec, [trained.train, trained.validation])
    outputs = loop.outputs_of(trained.head, trained.validation)
    seconds = {**trained.seconds, "total": time.perf_counter() - began}
    core = reports.build_report(
        prepared,
        trained,
        head_type.metrics(outputs, prepared.validation, recipe.seed),
        confusion=reports.confusion(flat(outputs), prepared.validation) if head_type.task == "classification" else None,
        majority=_majority(prepared),
        parity=served.parity,
        seconds=seconds,
    )
    report = {**core, **assess(catalogue, host, prepared, trained, served, outputs, asked, core, name)}
    report |= forgetting.measure(catalogue, prepared, trained, outputs)
    report |= distilled.measure(catalogue, host, prepared, trained, outputs, watcher)
    newest = catalogue.versions(name)[:1]
    dataset = _dataset_artefact(prepared)
    version, head = publish.publish(
        catalogue,
        host,
        name,
        recipe,
        served,
        dataset,
        report,
        reports.summary(report),
        [stated.about(dataset.digest)],
        trained.new_backbone,
        trained.adapter,
        partial(distilled.lineage, prepared, trained),
    )
    return Outcome(version, head, report, fresh=not newest or newest[0].number != version.number)


def _majority(prepared: Prepared) -> dict[str, Any] | None:
    """The baseline of guessing, where there are classes to guess."""
    labels, split = prepared.dataset.classes, prepared.split
    if labels is None or prepared.head_type.task != "classification":
        return None
    return reports.majority_baseline([labels[r] for r in split.train], [labels[r] for r in split.validation])


def _dataset_artefact(prepared: Prepared) -> Artefact:
    # Rows of the parent's data that are seen again are another data set's.
    own = len(prepared.table) - prepared.replayed
    return dataset_artefact(prepared.table, prepared.recipe.data.sha256, own)
