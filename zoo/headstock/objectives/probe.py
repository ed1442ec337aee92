"""Labelled rows under two backbones: does what was learned without labels help those who have some?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstock.data.columns import ROW, choose_columns
from headstock.data.dataset import read_dataset
from headstock.data.inputs import RawInputs
from headstock.data.table import Table
from headstock.errors import InvalidInput
from headstock.finetune.feature_cache import FeatureCache
from headstock.finetune.features import FeatureExtractor
from headstock.finetune.observer import Observer
from headstock.finetune.taps import WHOLE_SAMPLE
from headstock.metrics import wilson
from headstock.ranking.scores import knn_hits, probe_hits
from headstock.records import BackboneIdentity
from headstock.report.verdict import paired_gain
from headstock.servable import ServableBackbone

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue

_NEIGHBOURS = 5
_FEWEST = 2
"""Rows of a class, so that one may learn and another be asked."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Labelled rows, checked."""

    name: str
    inputs: RawInputs
    classes: npt.NDArray[np.int64]
    """[rows]."""
    labels: tuple[str, ...]


def open_probe(table: Table, modality: str, told: Mapping[str, str]) -> Probe:
    """The rows of a labelled table; raises `InvalidInput` for one that cannot be a probe."""
    role = ROW if modality == "tabular" else modality
    columns = choose_columns(table, [role, "label"], told)
    dataset = read_dataset(table, columns, (role,), ("label",))
    labels, classes, counts = np.unique(np.array(dataset.classes), return_inverse=True, return_counts=True)
    if counts.min() < _FEWEST:
        rare = str(labels[int(counts.argmin())])
        raise InvalidInput(
            f"class {rare!r} of {table.name!r} has {counts.min()} row; a probe needs at least {_FEWEST} of every class"
        )
    return Probe(table.name, dataset.inputs, classes.astype(np.int64), tuple(map(str, labels)))


def probe_tap(identity: BackboneIdentity) -> str:
    """The tap with one vector per sample that heads stand on by default; raises `InvalidInput` where there is none."""
    flat = [tap.name for tap in identity.taps if len(tap.shape) == 2]
    if not flat:
        raise InvalidInput(f"this {identity.family} backbone has no tap with one vector per sample")
    return next((name for name in WHOLE_SAMPLE if name in flat), flat[0])


def compare(
    catalogue: Catalogue,
    probe: Probe,
    before: ServableBackbone,
    after: ServableBackbone,
    seed: int,
    watcher: Observer,
) -> dict[str, Any]:
    """A linear probe and nearest neighbours on both backbones' features: accuracies over all rows, each answered by a
    probe that did not learn from it, and the gain with its interval on the same rows."""
    tap = probe_tap(before.identity)
    hits = [_hits(_features(catalogue, probe, one, tap, watcher), probe, seed) for one in (before, after)]
    found: dict[str, Any] = {"data": probe.name, "rows": len(probe.classes), "labels": list(probe.labels), "tap": tap}
    for kind in ("linear", "neighbours"):
        first, second = (one[kind] for one in hits)
        gain = paired_gain(second, first)
        found[kind] = {
            "before": _rate(first),
            "after": _rate(second),
            "gain": {"value": gain.value, "low": gain.low, "high": gain.high},
            "verdict": gain.word,
        }
    return found


def _features(
    catalogue: Catalogue, probe: Probe, backbone: ServableBackbone, tap: str, watcher: Observer
) -> npt.NDArray[np.float32]:
    cache = FeatureCache(catalogue.settings.cache, backbone.digest, tap, backbone.identity.preprocess)
    values = FeatureExtractor(backbone, tap, cache).features(probe.inputs, watcher.features).values
    return np.asarray(values, np.float32)


def _hits(features: npt.NDArray[np.float32], probe: Probe, seed: int) -> dict[str, npt.NDArray[np.bool_]]:
    return {
        "linear": probe_hits(features, probe.classes, seed).astype(bool),
        "neighbours": knn_hits(features, probe.classes, _NEIGHBOURS).astype(bool),
    }


def _rate(hits: npt.NDArray[np.bool_]) -> dict[str, float]:
    score = wilson("accuracy", int(hits.sum()), len(hits))
    return {"value": score.value, "low": score.low, "high": score.high}
