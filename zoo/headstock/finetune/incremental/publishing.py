"""Publish an updated head: its weights and statistics, its lineage, and what it forgot of its parent."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from headstock.data.dataset import data_digest
from headstock.data.roles import input_roles
from headstock.data.table import Table
from headstock.digest import Digest
from headstock.errors import FailedPrecondition, NotFound
from headstock.finetune.forgetting import compared
from headstock.finetune.incremental.closed_head import ROLE, ClosedHead
from headstock.finetune.parent import IMPOSSIBLE
from headstock.finetune.publish import parameter_bytes
from headstock.finetune.report import environment
from headstock.hookspecs import HeadType, LinearForm, Metric, Targets
from headstock.records import (
    Artefact,
    Edge,
    HeadIdentity,
    ModelIdentity,
    Publication,
    Version,
    artefact_of,
)
from headstock.servable import ServableModel, load_linear
from headstock.sources.plugin_code import code_evidence

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.plugin_host import PluginHost
    from headstock.sources.fetched import Statement


@dataclass(frozen=True, slots=True)
class Change:
    """One update of one model."""

    act: Literal["add", "erase", "refit"]
    parent: ServableModel
    before: ClosedHead | None
    """None where the parent's head was not in closed form."""
    after: ClosedHead
    table: Table
    rows: int
    """Rows added, erased or fitted."""
    features: tuple[int, int]
    """Samples that the backbone ran on, and that the cache knew."""
    began: float
    stated: Statement
    """What the caller says about the licence of `table`."""


def publish_change(
    catalogue: Catalogue, host: PluginHost, head_type: HeadType, change: Change
) -> tuple[Version, dict[str, Any]]:
    """Add the next version of the parent's name, in one transaction; returns it with its report."""
    parent, after = change.parent, change.after
    form, about = after.form(), after.about
    data = _dataset(change)
    report = _report(head_type, change, form, data)
    manifest = host.plugin_of_head(parent.head.type)
    plugin = artefact_of(
        "plugin", {"kind": "plugin", "distribution": manifest.distribution, "version": manifest.version}
    )
    with catalogue.writing(f"update {parent.version.name}"):
        store = catalogue.store
        parameters = store.put_bytes(parameter_bytes(form))
        targets = Targets(np.zeros(0), about.labels)
        identity = HeadIdentity(
            type=parent.head.type,
            backbone=parent.identity.backbone,
            tap=parent.head.tap,
            form="linear",
            parameters=parameters,
            width=form.weight.shape[0],
            out=form.weight.shape[1],
            postprocess=head_type.postprocess(targets, about.options),
        )
        digest = artefact_of("head", identity.to_json()).digest
        kept = _statistics(catalogue, digest, after) or store.put_bytes(after.to_bytes())
        head = artefact_of("head", identity.to_json(), {"parameters": parameters, ROLE: kept})
        model = artefact_of(
            "model",
            ModelIdentity(identity.backbone, head.digest).to_json(),
            {"report": store.put_json(report)},
        )
        edges = [
            Edge(head.digest, "head_on", identity.backbone),
            Edge(head.digest, "built_by_plugin", plugin.digest),
        ]
        if head.digest != parent.head_digest:
            edges.append(Edge(head.digest, "finetuned_from", parent.head_digest, change.act))
        artefacts = [head, plugin, model]
        if change.act != "erase":
            edges.append(Edge(head.digest, "trained_on", data.digest))
            artefacts.insert(0, data)
        version = catalogue.publish(
            Publication(
                name=parent.version.name,
                kind="model",
                subject=model.digest,
                artefacts=artefacts,
                edges=edges,
                evidence=[
                    *([change.stated.about(data.digest)] if change.act != "erase" else []),
                    *code_evidence(plugin),
                ],
                details=_details(report, head) | inherited(parent.version),
            )
        )
    return version, report


def _statistics(catalogue: Catalogue, head: Digest, after: ClosedHead) -> Digest | None:
    """The statistics that the catalogue has of a head with these very weights, if they are of the same rows.

    Raises `FailedPrecondition` if they are of other rows: a head has one set of statistics.
    """
    try:
        blob = catalogue.artefact(head).files.get(ROLE)
    except NotFound:
        return None
    if blob is None:
        return None
    if ClosedHead.from_bytes(catalogue.store.read_bytes(blob)).is_of_the_rows_of(after):
        return blob
    raise FailedPrecondition(
        "these rows change no weight of the head: a version with the same weights, from other rows, exists already",
        fix="leave out rows that repeat what the model has learned from",
    )


def _dataset(change: Change) -> Artefact:
    table = change.table
    digest = data_digest(table, _present(change))
    identity = {
        "kind": "dataset",
        "sha256": digest,
        "rows": len(table),
        "columns": list(table.columns),
        "name": table.name,
    }
    return artefact_of("dataset", identity)


def _present(change: Change) -> dict[str, str]:
    """Roles whose column is there: rows that are erased need no label."""
    return {role: column for role, column in change.after.about.columns.items() if column in change.table.columns}


def _report(head_type: HeadType, change: Change, form: LinearForm, data: Artefact) -> dict[str, Any]:
    parent, after = change.parent, change.after
    metrics = _metrics(head_type, after, form)
    return {
        "format": 1,
        "head_type": parent.head.type,
        "task": head_type.task,
        "input": input_roles(head_type)[0],
        "backbone": {"name": after.about.backbone, "digest": parent.identity.backbone, "tap": parent.head.tap},
        "strategy": f"closed form: {after.about.solver}",
        "update": {
            "act": change.act,
            "rows": change.rows,
            "parent": str(parent.version),
            "head": parent.head_digest,
            "verdict": _inherited_words(parent.version),
        },
        "penalty": after.about.penalty,
        "seed": after.about.seed,
        "labels": list(after.about.labels),
        "data": {
            "name": change.table.name,
            "sha256": data.identity["sha256"],
            "train": len(after.trained.samples),
            "validation": len(after.validation.samples),
        },
        "metrics": [asdict(metric) for metric in metrics],
        "primary_metric": head_type.primary_metric,
        "forgetting": _forgetting(head_type, change, form),
        "transfer": None,
        "majority": None,
        "features": {"computed": change.features[0], "cached": change.features[1]},
        "seconds": {"total": round(time.perf_counter() - change.began, 3)},
        "environment": environment(),
    }


def _metrics(head_type: HeadType, head: ClosedHead, form: LinearForm) -> list[Metric]:
    """Of `form` on the validation rows of `head`."""
    outputs, labels = head.features @ form.weight + form.bias, head.about.labels
    return list(head_type.metrics(outputs, Targets(_truth(head), labels), head.about.seed))


def _truth(head: ClosedHead) -> npt.NDArray[Any]:
    return head.validation.targets.astype(np.int64 if head.about.labels else np.float32)


def _forgetting(head_type: HeadType, change: Change, form: LinearForm) -> dict[str, Any]:
    """Parent and new head on the parent's validation rows, or on what is left of them."""
    after, parent = change.after, change.parent
    about = {"parent": str(parent.version), "rows": len(after.validation.samples)}
    if parent.head.form != "linear":
        return {**about, "metric": head_type.primary_metric, "before": None, "after": None, "interval": None}
    weight, bias = load_linear(parent.parameters)
    old, new = after.features @ weight + bias, after.features @ form.weight + form.bias
    known: Sequence[str] = parent.head.postprocess.get("labels", ()) if after.about.labels else ()
    # Classes that are gone may still be what the parent answers.
    labels = (*after.about.labels, *(label for label in known if label not in after.about.labels))
    if labels:
        old, new = _columns(old, known, labels), _columns(new, after.about.labels, labels)
    return {**about, **compared(head_type, old, new, Targets(_truth(after), labels), after.about.seed)}


def _columns(outputs: npt.NDArray[np.float32], own: Sequence[str], labels: Sequence[str]) -> npt.NDArray[np.float32]:
    """Raw outputs for `own` classes as outputs for `labels`; what is unknown never wins."""
    found = np.full((len(outputs), len(labels)), IMPOSSIBLE, np.float32)
    found[:, [labels.index(label) for label in own]] = outputs
    return found


def inherited(parent: Version) -> dict[str, Any]:
    """What the parent's version says of transfer and adaptation, for the details of one that was made from it.

    An update compares with nothing that learned from the target alone, so it can neither earn a verdict nor lose one.
    """
    kept = {key: parent.details[key] for key in ("transfer", "adaptation") if parent.details.get(key)}
    return {**kept, **({"verdict_of": parent.details.get("verdict_of", str(parent))} if kept else {})}


def _inherited_words(parent: Version) -> str:
    found = inherited(parent)
    if "transfer" not in found:
        return f"an update compares with nothing, and {parent} has none to inherit"
    return f"that of {found['verdict_of']} holds: {found['transfer']['verdict']}"


def _details(report: dict[str, Any], head: Artefact) -> dict[str, Any]:
    """What the catalogue keeps with the version."""
    return {
        "head_type": report["head_type"],
        "backbone": report["backbone"]["name"],
        "tap": report["backbone"]["tap"],
        "strategy": report["strategy"],
        "updated_from": report["update"]["parent"],
        "update": f"{report['update']['act']} {report['update']['rows']} rows",
        "data": report["data"]["name"],
        "rows_train": report["data"]["train"],
        "rows_validation": report["data"]["validation"],
        "labels": report["labels"],
        "metrics": report["metrics"],
        "head": head.digest,
    }
