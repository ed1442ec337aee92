"""Publish an updated head: its weights and statistics, its lineage, and what it forgot of its parent."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from headstock.data.dataset import data_digest
from headstock.data.roles import input_roles
from headstock.data.table import Table
from headstock.digest import Digest
from headstock.errors import FailedPrecondition, NotFound
from headstock.finetune.incremental.closed_head import ROLE, ClosedHead
from headstock.finetune.publish import parameter_bytes
from headstock.finetune.report import environment
from headstock.hookspecs import HeadType, LinearForm, Metric, Targets
from headstock.records import (
    Artefact,
    Edge,
    Evidence,
    HeadIdentity,
    ModelIdentity,
    Publication,
    Version,
    artefact_of,
)
from headstock.servable import ServableModel, load_linear

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.plugin_host import PluginHost


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
                evidence=_evidence(data) if change.act == "add" else [],
                details=_details(report, head),
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


def _evidence(data: Artefact) -> list[Evidence]:
    # Silence about a licence is recorded as silence.
    return [Evidence(data.digest, "licence", "NOASSERTION", "operator", "update --add")]


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
        "update": {"act": change.act, "rows": change.rows, "parent": str(parent.version), "head": parent.head_digest},
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
        "forgetting": _forgetting(head_type, change, metrics),
        "majority": None,
        "features": {"computed": change.features[0], "cached": change.features[1]},
        "seconds": {"total": round(time.perf_counter() - change.began, 3)},
        "environment": environment(),
    }


def _metrics(head_type: HeadType, head: ClosedHead, form: LinearForm) -> list[Metric]:
    """Of `form` on the validation rows of `head`."""
    labels = head.about.labels
    values = head.validation.targets.astype(np.int64 if labels else np.float32)
    outputs = head.features @ form.weight + form.bias
    return list(head_type.metrics(outputs, Targets(values, labels), head.about.seed))


def _forgetting(head_type: HeadType, change: Change, after: list[Metric]) -> dict[str, Any]:
    """The parent's metrics on its own validation rows, and the new head's on what is left of them."""
    judged = change.before or change.after
    weight, bias = load_linear(change.parent.parameters) if change.parent.head.form == "linear" else (None, None)
    if weight is None or bias is None:
        return {"before": None, "after": [asdict(metric) for metric in after], "lost": None}
    before = _metrics(head_type, judged, LinearForm(weight, bias))
    return {
        "metric": before[0].name,
        "validation": len(judged.validation.samples),
        "before": [asdict(metric) for metric in before],
        "after": [asdict(metric) for metric in after],
        "lost": before[0].value - after[0].value,
    }


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
