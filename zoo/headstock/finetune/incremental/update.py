"""Update a model whose head is in closed form: add rows, erase rows, or refit a trained head into that form."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstock.data.cells import is_empty, label_of, number_of
from headstock.data.columns import option_of
from headstock.data.dataset import read_inputs
from headstock.data.inputs import RawInputs
from headstock.data.roles import input_roles
from headstock.data.split_choice import RandomSplit
from headstock.data.table import Table
from headstock.errors import FailedPrecondition, InvalidInput, Unsupported
from headstock.finetune.feature_cache import FeatureCache
from headstock.finetune.features import FeatureExtractor, FeatureSet
from headstock.finetune.incremental.closed_head import ROLE, About, ClosedHead, Part
from headstock.finetune.incremental.publishing import Change, publish_change
from headstock.finetune.incremental.solve import Solver
from headstock.finetune.prepare import prepare
from headstock.finetune.recipe import Recipe
from headstock.hookspecs import HeadType
from headstock.licences import enforcement, gate
from headstock.licences.decisions import known_expression
from headstock.licences.enforcement import data_statement
from headstock.licences.policy import Policy
from headstock.records import ModelIdentity, Version
from headstock.servable import ServableBackbone, ServableModel, load_model

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.plugin_host import PluginHost
    from headstock.sources.fetched import Statement

PENALTY = 1e-2


@dataclass(frozen=True, slots=True)
class Updated:
    """What an update made."""

    version: Version
    report: dict[str, Any]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Asked:
    model: ServableModel
    head_type: HeadType
    head: ClosedHead
    inputs: RawInputs


def add_rows(catalogue: Catalogue, host: PluginHost, version: Version, table: Table, data_licence: str = "") -> Updated:
    """The next version of the model with the rows of `table` added; labels that are new add classes.

    Rows whose input validates the model are left out, as what validates must not train. Raises `FailedPrecondition`
    if the head is not in closed form, `InvalidInput` for rows that cannot be used, and `LicenceRefused` before
    anything is computed. `data_licence` is what the caller says `table` is under, an SPDX expression.
    """
    began = time.perf_counter()
    asked = _asked(catalogue, host, version, table)
    stated, notes = check_licences(catalogue, version, table.name, data_licence)
    labels, targets = _targets(table, asked)
    validating = set(asked.head.validation.samples)
    rows = [row for row, sample in enumerate(asked.inputs.samples) if sample not in validating]
    if not rows:
        raise InvalidInput(f"every row of {table.name!r} validates {version} already; there is nothing to add")
    found = _features(catalogue, asked.model.backbone, asked.model.head.tap, asked.inputs)
    part = Part(tuple(asked.inputs.samples), targets).only(rows)
    if set(range(len(asked.head.about.labels), len(labels))) - {int(target) for target in part.targets}:
        raise InvalidInput(f"every row of a new class in {table.name!r} validates {version} already")
    if len(rows) < len(table):
        notes.append(f"{len(table) - len(rows)} rows have an input that validates the model and were left out")
    if added := labels[len(asked.head.about.labels) :]:
        notes.append(f"new classes {list(added)} have no validation rows: the figures do not speak of them")
    head = asked.head.adding(part, _rows(found, rows), labels)
    computed = (found.computed, found.cached)
    change = Change("add", asked.model, asked.head, head, table, len(rows), computed, began, stated)
    return _done(catalogue, host, asked.head_type, change, notes)


def erase_rows(catalogue: Catalogue, host: PluginHost, version: Version, table: Table) -> Updated:
    """The next version of the model without any row whose input is in `table`, in training and validation.

    Raises `InvalidInput` if one of them was never in, or if too little would be left. Older versions stay what they
    are until they are removed.
    """
    began = time.perf_counter()
    asked = _asked(catalogue, host, version, table)
    wanted, head = set(asked.inputs.samples), asked.head
    known = {*head.trained.samples, *head.validation.samples}
    if strange := [row for row, sample in enumerate(asked.inputs.samples) if sample not in known]:
        raise InvalidInput(
            f"{table.name!r} {table.where(strange)}: no row of {version} has this input",
            fix="delete those rows from the file; inputs are compared byte by byte",
        )
    found = _features(catalogue, asked.model.backbone, asked.model.head.tap, asked.inputs)
    rows, held = head.trained.places(wanted), head.validation.places(wanted)
    place = {sample: row for row, sample in enumerate(asked.inputs.samples)}
    gone = _rows(found, [place[head.trained.samples[row]] for row in rows])
    shrunk = head.erasing(rows, gone, held)
    notes = [f"{version} still holds the erased rows' sums; headstock remove {version} and headstock gc end that"]
    if lost := sorted(set(head.about.labels) - set(shrunk.about.labels)):
        notes.append(f"classes {lost} lost their last row and are gone")
    erased = len(rows) + len(held)
    # Nothing is learned from these rows, and no licence may stand in the way of taking them out.
    stated, computed = data_statement("", ""), (found.computed, found.cached)
    change = Change("erase", asked.model, head, shrunk, table, erased, computed, began, stated)
    return _done(catalogue, host, asked.head_type, change, notes)


def refit(
    catalogue: Catalogue,
    host: PluginHost,
    version: Version,
    table: Table,
    solver: Solver | None = None,
    penalty: float = PENALTY,
    data_licence: str = "",
) -> Updated:
    """The next version of a trained model with its head in closed form, from the data of its recipe and its split.

    `solver` defaults to `lda` for classes and `ridge` for numbers. Raises `Unsupported` for other kinds of head, and
    `LicenceRefused` as `add_rows` does.
    """
    began = time.perf_counter()
    model = load_model(catalogue, version)
    blob = catalogue.artefact(version.subject).files.get("recipe")
    if blob is None:
        raise FailedPrecondition(
            f"{version} has no recipe to refit by", fix="headstock fine-tune, then headstock update --refit"
        )
    recipe = Recipe.from_json(catalogue.store.read_json(blob), f"recipe of {version}")
    if recipe.adaptation is not None:
        raise Unsupported(
            f"{version} was adapted to data without labels, which no closed form learns from",
            fix=f"headstock adapt --recipe {version} --data FILE --target FILE --name {version.name}",
        )
    if recipe.backbone.digest != model.identity.backbone:
        raise Unsupported(
            f"{version} stands on a backbone of its own, which its recipe does not name",
            fix=f"headstock fine-tune --backbone {version} --head {recipe.head.type}, then update --refit that",
        )
    head_type = host.head_type(recipe.head.type)
    chosen = _solver(head_type, solver)
    stated, notes = check_licences(catalogue, version, table.name, data_licence)
    ready = prepare(catalogue, host, recipe, table, version.name, notes.append)
    found = _features(catalogue, ready.backbone, recipe.head.tap, ready.dataset.inputs)
    everything = Part(ready.dataset.samples, ready.targets.values.astype(np.float64))
    split = recipe.split
    about = About(
        solver=chosen,
        penalty=penalty,
        seed=recipe.seed,
        backbone=recipe.backbone.name,
        labels=ready.targets.labels,
        columns=dict(recipe.data.columns),
        unused=() if isinstance(split, RandomSplit) else (split.column,),
        options=recipe.head.options,
    )
    train, held = ready.split.train, ready.split.validation
    head = ClosedHead.fit(about, everything.only(train), _rows(found, train), everything.only(held), _rows(found, held))
    computed = (found.computed, found.cached)
    change = Change("refit", model, None, head, table, len(train), computed, began, stated)
    return _done(catalogue, host, head_type, change, notes)


def check_licences(catalogue: Catalogue, version: Version, data: str, said: str) -> tuple[Statement, list[str]]:
    """What is said about the rows, and warnings about the model that they would make of `version`.

    Raises `LicenceRefused` if the policy refuses that model, or the one that it is made from.
    """
    policy, licence = Policy.load(catalogue.settings), known_expression(said, "--data-licence") if said else ""
    found = gate.verdict(catalogue, version.subject, policy=policy)
    warnings = enforcement.check(found, policy, f"updating {str(version)!r}", str(version), version.name)
    identity = ModelIdentity.from_json(catalogue.artefact(version.subject).identity)
    standing = str(version.details.get("backbone", version.name))
    warnings += enforcement.check_fine_tune(catalogue, identity.backbone, standing, version.name, data, licence)
    return data_statement(licence, said), [f"warning: {one}" for one in dict.fromkeys(warnings)]


def _done(catalogue: Catalogue, host: PluginHost, head_type: HeadType, change: Change, notes: Sequence[str]) -> Updated:
    version, report = publish_change(catalogue, host, head_type, change)
    return Updated(version, report, tuple(notes))


def _asked(catalogue: Catalogue, host: PluginHost, version: Version, table: Table) -> _Asked:
    model = load_model(catalogue, version)
    blob = catalogue.artefact(ModelIdentity.from_json(catalogue.artefact(version.subject).identity).head).files.get(
        ROLE
    )
    if blob is None:
        raise FailedPrecondition(
            f"the head of {version} was trained by gradient steps; rows can be added or erased exactly only where it "
            "is in closed form",
            fix=f"headstock update {version} --refit DATA, with the data that it was trained on",
        )
    head = ClosedHead.from_bytes(catalogue.store.read_bytes(blob))
    head_type = host.head_type(model.head.type)
    inputs = read_inputs(table, head.about.columns, input_roles(head_type), head.about.unused)
    return _Asked(model, head_type, head, inputs)


def _solver(head_type: HeadType, solver: Solver | None) -> Solver:
    if head_type.per_position or head_type.task not in ("classification", "regression"):
        raise Unsupported(
            f"a {head_type.task} head has no closed form here; classification and regression have one",
            fix="headstock fine-tune with all the data",
        )
    if head_type.task == "regression" and solver == "lda":
        raise InvalidInput("lda is for classes; a regression is solved by ridge", fix="--solver ridge")
    return solver or ("ridge" if head_type.task == "regression" else "lda")


def _targets(table: Table, asked: _Asked) -> tuple[tuple[str, ...], npt.NDArray[np.float64]]:
    """Labels, old ones first, and the target of every row."""
    role = asked.head_type.columns[0]
    column = asked.head.about.columns[role]
    cells, labels = table.column(column, option_of(role)), asked.head.about.labels
    if empty := [row for row, cell in enumerate(cells) if is_empty(cell)]:
        raise InvalidInput(f"{table.name!r} has no {role} in column {column!r} at {table.where(empty)}")
    if not labels:
        numbers = np.array([number_of(cell) for cell in cells], np.float64)
        if len(wrong := np.flatnonzero(~np.isfinite(numbers))):
            raise InvalidInput(f"{table.name!r} has no number in column {column!r} at {table.where(wrong.tolist())}")
        return (), numbers.astype(np.float32).astype(np.float64)
    names = [label_of(cell) for cell in cells]
    labels = (*labels, *sorted(set(names) - set(labels)))
    index = {name: place for place, name in enumerate(labels)}
    return labels, np.array([index[name] for name in names], np.float64)


def _features(catalogue: Catalogue, backbone: ServableBackbone, tap: str, inputs: RawInputs) -> FeatureSet:
    cache = FeatureCache(catalogue.settings.cache, backbone.digest, tap, backbone.identity.preprocess)
    found = FeatureExtractor(backbone, tap, cache).features(inputs, lambda done, total: None)
    if isinstance(found.values, list) or found.values.ndim != 2:
        raise Unsupported(f"tap {tap!r} has no single vector per row, which a head in closed form needs")
    return found


def _rows(found: FeatureSet, rows: Sequence[int]) -> npt.NDArray[np.float32]:
    return np.asarray(found.values)[list(rows)]
