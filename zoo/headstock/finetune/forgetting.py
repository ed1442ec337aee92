"""What a continued model has gained on the new rows, and what it has forgotten of the parent's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from headstock.errors import HeadstockError
from headstock.finetune.feature_cache import FeatureCache
from headstock.finetune.features import FeatureExtractor
from headstock.finetune.reading import contexts
from headstock.finetune.rehearsal import Part, Rehearsal
from headstock.finetune.values import Values
from headstock.graph import Graph
from headstock.report.verdict import Gain, paired_gain, unpaired_gain
from headstock.servable import ServableAdapter, ServableBackbone, servable_adapter

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.data.inputs import RawInputs
    from headstock.finetune.parent import Parent
    from headstock.finetune.prepare import Prepared
    from headstock.finetune.training import Trained
    from headstock.hookspecs import HeadType, Metric, Targets


def measure(catalogue: Catalogue, prepared: Prepared, trained: Trained, outputs: Values) -> dict[str, Any]:
    """`continued` and `forgetting` of the report; empty for a run that went on from nothing.

    `outputs` are the child's on the validation rows of the new data.
    """
    parent = prepared.parent
    if parent is None:
        return {}
    known, choice = set(parent.labels), prepared.recipe.parent
    replay = choice.replay if choice else None
    before = parent.outputs(trained.probe_validation, prepared.targets.labels)
    gained = compared(prepared.head_type, before, outputs, prepared.validation, prepared.recipe.seed)
    continued = {
        "parent": str(parent.version),
        "head": parent.model.head_digest,
        "new_labels": [label for label in prepared.targets.labels if known and label not in known],
        "replayed": prepared.replayed,
        "replay_data": replay.name if replay else None,
        "validation": {"rows": len(prepared.split.validation), **gained},
    }
    lost = None if prepared.past is None else _forgotten(catalogue, prepared, parent, prepared.past, trained)
    return {"continued": continued, "forgetting": lost}


def _forgotten(
    catalogue: Catalogue, prepared: Prepared, parent: Parent, past: Rehearsal, trained: Trained
) -> dict[str, Any]:
    """Both models on what the parent was judged by, without the rows that the child was trained on."""
    from headstock.finetune.loop import outputs_of

    seen = {prepared.dataset.samples[row] for row in prepared.split.train}
    held_out = [row for row in past.split.validation if past.dataset.samples[row] not in seen]
    about = {"parent": str(parent.version), "rows": len(held_out)}
    if not held_out:
        return {**about, "metric": prepared.head_type.primary_metric, "before": None, "after": None, "interval": None}
    targets = _targets(prepared, past).only(held_out)
    rows = Part(past.dataset.inputs, held_out)
    old = _features(catalogue, prepared, parent.model.backbone, parent.model.adapter, rows)
    backbone = trained.new_backbone.servable if trained.new_backbone else parent.model.backbone
    adapter = None if trained.adapter is None else servable_adapter(catalogue, trained.adapter)
    same = backbone.digest == parent.model.backbone.digest and trained.adapter == parent.adapter
    new = old if same else _features(catalogue, prepared, backbone, adapter, rows)
    before, after = parent.outputs(old, prepared.targets.labels), outputs_of(trained.head, new)
    return {**about, **compared(prepared.head_type, before, after, targets, prepared.recipe.seed)}


def _targets(prepared: Prepared, past: Rehearsal) -> Targets:
    """Of all rows of the parent's data, in the child's classes."""
    head_type = prepared.head_type
    targets = head_type.encode(past.dataset.columns, prepared.targets.labels or None)
    if head_type.reads == "any":
        return targets
    return head_type.align(
        targets, contexts(prepared.backbone.open_preprocessor(), head_type.reads, past.dataset.inputs)
    )


def _features(
    catalogue: Catalogue,
    prepared: Prepared,
    backbone: ServableBackbone,
    adapter: ServableAdapter | None,
    inputs: RawInputs,
) -> Values:
    from headstock.adapter.adapted import AdaptedGraph

    tap = prepared.recipe.head.tap
    graph: Graph | None = None if adapter is None else AdaptedGraph(adapter)
    cache = None
    if graph is None and prepared.recipe.features.cache:
        cache = FeatureCache(catalogue.settings.cache, backbone.digest, tap, backbone.identity.preprocess)
    extractor = FeatureExtractor(backbone, tap, cache, reads=prepared.head_type.reads, graph=graph)
    return extractor.features(inputs, lambda done, total: None).values


def compared(head_type: HeadType, before: Values, after: Values, targets: Targets, seed: int) -> dict[str, Any]:
    """The primary metric of both on the same rows, and the 95 % interval of `after - before`."""
    old, new = (_primary(head_type, part, targets, seed) for part in (before, after))
    gain = _gain(head_type, before, after, targets, old, new)
    return {
        "metric": old.name,
        "before": old.value,
        "after": new.value,
        "difference": gain.value,
        "interval": [gain.low, gain.high],
    }


def _primary(head_type: HeadType, outputs: Values, targets: Targets, seed: int) -> Metric:
    for metric in head_type.metrics(outputs, targets, seed):
        if metric.name == head_type.primary_metric:
            return metric
    raise HeadstockError(f"head type {head_type.name!r} gives no metric {head_type.primary_metric!r}")


def _gain(head_type: HeadType, before: Values, after: Values, targets: Targets, old: Metric, new: Metric) -> Gain:
    if head_type.task != "classification" or isinstance(before, list) or isinstance(after, list):
        return unpaired_gain(new, old)
    truth = np.asarray(targets.values)
    return paired_gain(after.argmax(axis=-1) == truth, before.argmax(axis=-1) == truth)
