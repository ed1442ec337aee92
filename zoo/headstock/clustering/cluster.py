"""A clustering from a table to a version: features, k-means, quality, and the nearest middle as a served head."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from headstock.clustering import quality
from headstock.clustering.grouping import Grouping, clustering_section
from headstock.clustering.middles import middles_form, nearest
from headstock.clustering.quality import Floats, Ints
from headstock.data.cells import is_empty, label_of
from headstock.data.columns import ROW, option_of
from headstock.data.dataset import data_digest, read_inputs
from headstock.data.inputs import RawInputs
from headstock.data.table import Table
from headstock.errors import InvalidInput
from headstock.finetune.feature_cache import FeatureCache
from headstock.finetune.features import FeatureExtractor
from headstock.finetune.made import MadeHead, Standing, publish_made
from headstock.finetune.observer import Observer
from headstock.finetune.report import environment
from headstock.names import Reference, check_name
from headstock.objectives.plan import input_columns
from headstock.objectives.probe import probe_tap
from headstock.records import Artefact, Edge, Version, artefact_of
from headstock.servable import load_backbone

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.plugin_host import PluginHost
    from headstock.sources.fetched import Statement

_FEWEST = 10
"""Rows below which no cluster can be told from chance."""


@dataclass(frozen=True, slots=True)
class Clustered:
    """What a clustering made."""

    version: Version
    report: Mapping[str, Any]
    clusters: tuple[int, ...]
    """Of every row of the table."""


def cluster(
    catalogue: Catalogue,
    host: PluginHost,
    table: Table,
    backbone: Reference,
    name: str,
    asked: Grouping,
    *,
    observer: Observer | None = None,
    data_licence: str = "",
) -> Clustered:
    """Publish a model that tells which cluster of `table` a row is nearest to, as the next version of `name`.

    Raises `InvalidInput` for a number of clusters that the rows cannot have and for a backbone without one vector per
    row, `LicenceRefused` before anything is computed.
    """
    watcher, began = observer or Observer(), time.perf_counter()
    check_name(name)
    standing = _standing(catalogue, backbone)
    tap = _tap(standing, asked.tap)
    inputs, columns, classes = _rows(table, standing, asked)
    _require_number(asked, len(inputs))
    stated = _check_licences(catalogue, standing, name, table, data_licence, watcher)
    cache = FeatureCache(catalogue.settings.cache, standing.digest, tap, standing.backbone.identity.preprocess)
    found = FeatureExtractor(standing.backbone, tap, cache).features(inputs, watcher.features).values
    features = np.asarray(found, np.float64)
    tried = [] if asked.k else quality.by_silhouette(features, _most(features, asked), asked.seed)
    k = asked.k or max(tried, key=lambda one: one[1])[0]
    _require_distinct(features, k)
    form = middles_form(np.asarray(found, np.float32), quality.kmeans(features, k, asked.seed), k)
    # What is measured is what will be served: the nearest middle, in single precision.
    clusters = nearest(form, np.asarray(found, np.float32))
    section = clustering_section(features, clusters, k, tried, inputs, classes, asked)
    dataset = _dataset(table, columns)
    labels = [one["name"] for one in section["clusters"]]
    head = MadeHead(
        type=f"{standing.reads}-clusters",
        task="clustering",
        plugin=host.plugin_of_family(standing.backbone.identity.family).name,
        standing=standing,
        tap=tap,
        form=form,
        spec={"kind": "classification", "labels": labels},
        report={
            "labels": labels,
            "data": {"name": table.name, "sha256": dataset.identity["sha256"], "rows": len(table)},
            "seed": asked.seed,
            "clustering": section,
            "environment": environment(),
            "seconds": {"total": round(time.perf_counter() - began, 3)},
        },
        details=_details(table, section),
    )
    version = publish_made(
        catalogue,
        host,
        name,
        head,
        lambda digest: [Edge(digest, "trained_on", dataset.digest)],
        [dataset],
        [stated.about(dataset.digest)],
    )
    return Clustered(version, head.report, tuple(clusters.tolist()))


def _standing(catalogue: Catalogue, backbone: Reference) -> Standing:
    version = catalogue.version(backbone)
    if version.kind != "backbone":
        raise InvalidInput(f"{version} is a {version.kind}; expected a backbone", fix="headstock list --kind backbone")
    return Standing(version.name, load_backbone(catalogue, version.subject))


def _tap(standing: Standing, name: str | None) -> str:
    tap = standing.backbone.identity.tap(name or probe_tap(standing.backbone.identity))
    if len(tap.shape) != 2:
        raise InvalidInput(
            f"tap {tap.name!r} of {standing.name!r} has shape {list(tap.shape)}; expected one vector per row",
            fix=f"--tap {probe_tap(standing.backbone.identity)}",
        )
    return tap.name


def _rows(
    table: Table, standing: Standing, asked: Grouping
) -> tuple[RawInputs, dict[str, str], tuple[Ints, list[str]] | None]:
    """Inputs, their columns, and the classes to compare with, each by its place in a list of names."""
    columns = input_columns(table, standing.reads, asked.columns)
    role = ROW if standing.reads == "tabular" else standing.reads
    column = asked.label_column
    inputs = read_inputs(table, columns, (role,), () if column is None else (column,))
    if column is None:
        return inputs, columns, None
    cells = table.column(column, option_of("label"))
    if empty := [row for row, cell in enumerate(cells) if is_empty(cell)]:
        raise InvalidInput(f"{table.name!r} has no label in column {column!r} at {table.where(empty)}")
    names, classes = np.unique(np.array([label_of(cell) for cell in cells]), return_inverse=True)
    return inputs, columns, (classes.astype(np.int64), [str(name) for name in names])


def _require_number(asked: Grouping, rows: int) -> None:
    if rows < _FEWEST:
        raise InvalidInput(f"there are {rows} rows; a clustering needs at least {_FEWEST}")
    if asked.k is not None and not 2 <= asked.k < rows:
        raise InvalidInput(f"--k {asked.k} does not fit {rows} rows; expected 2 to {rows - 1}", fix="--k auto")


def _most(features: Floats, asked: Grouping) -> int:
    """Highest number of clusters to try: fewer than there are different rows."""
    return max(2, min(asked.most, len(np.unique(features, axis=0)) - 1))


def _require_distinct(features: Floats, k: int) -> None:
    """Raise `InvalidInput` where a cluster would be empty, for its middle would be nowhere."""
    distinct = len(np.unique(features, axis=0))
    if distinct < 2:
        raise InvalidInput(
            "all rows fall into one cluster: their features are the same", fix="another --tap or --backbone"
        )
    if k > distinct:
        raise InvalidInput(f"--k {k} is more than the {distinct} different rows", fix="--k auto")


def _check_licences(
    catalogue: Catalogue, standing: Standing, name: str, table: Table, said: str, watcher: Observer
) -> Statement:
    from headstock.licences import enforcement
    from headstock.licences.decisions import known_expression

    licence = known_expression(said, "--data-licence") if said else ""
    for warning in enforcement.check_fine_tune(catalogue, standing.digest, standing.name, name, table.name, licence):
        watcher.say(f"warning: {warning}")
    return enforcement.data_statement(licence, said)


def _dataset(table: Table, columns: Mapping[str, str]) -> Artefact:
    identity = {
        "kind": "dataset",
        "sha256": data_digest(table, columns),
        "rows": len(table),
        "columns": list(table.columns),
        "name": table.name,
    }
    return artefact_of("dataset", identity)


def _details(table: Table, section: Mapping[str, Any]) -> dict[str, Any]:
    agreed = section.get("agreement")
    return {
        "data": table.name,
        "clusters": section["k"],
        "silhouette": round(section["silhouette"]["value"], 4),
        "verdict": section["verdict"],
        **({"ari": round(agreed["value"], 4)} if agreed else {}),
    }
