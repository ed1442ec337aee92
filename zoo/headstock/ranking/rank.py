"""Rank the catalogue's backbones for a data set, on the features that a later fine-tune will find in the cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from headstock.data.table import Table
from headstock.errors import Unsupported
from headstock.finetune.feature_cache import FeatureCache
from headstock.finetune.features import FeatureExtractor
from headstock.finetune.plan import Options
from headstock.ranking.candidates import Candidate, LeftOut, find_candidates
from headstock.ranking.rows import Rows, choose_rows
from headstock.ranking.scores import (
    Features,
    Floats,
    knn_errors,
    knn_hits,
    logme,
    one_hot,
    probe_hits,
    ridge_errors,
)
from headstock.ranking.verdict import Standing, combined, ranks, standings

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.plugin_host import PluginHost

MOST_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Scored:
    """One candidate's scores; larger is better."""

    candidate: Candidate
    knn: float
    """Leave-one-out accuracy, or R2."""
    logme: float
    probe: float
    """Cross-validated accuracy of a logistic regression, or R2 of a ridge regression."""
    mean_rank: float
    """Over the three scores; what the order is by."""
    size_rank: float
    """Place in the static list that puts the backbone with the most parameters first."""
    standing: Standing
    row_seconds: float
    """Of one row through the backbone, on this machine, one thread."""
    seconds: float
    """Spent on this candidate."""
    computed: int
    cached: int


@dataclass(frozen=True, slots=True)
class Ranking:
    """Candidates in order, the recommended one first."""

    head: str
    data: str
    rows: int
    classes: int | None
    """Number of classes; None for a regression."""
    order: tuple[Scored, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]

    @property
    def static(self) -> Scored:
        """What the static list would take: the baseline to beat."""
        return min(self.order, key=lambda scored: scored.size_rank)


@dataclass(frozen=True, slots=True)
class _Measured:
    candidate: Candidate
    parts: tuple[Floats, Floats]
    logme: float
    row_seconds: float
    seconds: float
    computed: int
    cached: int


def rank(
    catalogue: Catalogue,
    host: PluginHost,
    table: Table,
    head: str,
    *,
    backbones: Sequence[str] = (),
    purpose: str | None = None,
    options: Options | None = None,
    most: int = MOST_ROWS,
    progress: Callable[[str, int, int], None] | None = None,
) -> Ranking:
    """Order backbones for a head of type `head` on `table`, looking at no more than `most` training rows.

    `progress` is told backbone, rows done and rows in all. Raises as `choose_rows` and `find_candidates` do.
    """
    chosen = options or Options()
    head_type = host.head_type(head)
    rows = choose_rows(table, head_type, chosen, most)
    candidates, left = find_candidates(catalogue, head_type, backbones, purpose)
    measured: list[_Measured] = []
    for candidate in candidates:
        tell = progress or (lambda name, done, total: None)
        measured.append(_measure(catalogue, candidate, rows, chosen.seed, tell))
    return Ranking(
        head=head,
        data=table.name,
        rows=len(rows),
        classes=None if rows.classes is None else int(rows.classes.max()) + 1,
        order=_ordered(measured, rows, chosen.seed),
        left_out=tuple(left),
        notes=rows.notes,
    )


def _measure(
    catalogue: Catalogue, candidate: Candidate, rows: Rows, seed: int, progress: Callable[[str, int, int], None]
) -> _Measured:
    began = time.perf_counter()
    backbone, tap, name = candidate.backbone, candidate.tap.name, candidate.version.name
    cache = FeatureCache(catalogue.settings.cache, backbone.digest, tap, backbone.identity.preprocess)
    found = FeatureExtractor(backbone, tap, cache).features(
        rows.inputs, lambda done, total: progress(name, done, total)
    )
    if isinstance(found.values, list):
        raise Unsupported(f"backbone {name!r} answers tap {tap!r} position by position; ranking needs one vector a row")
    features = found.values
    parts, evidence = _scores(features, rows, seed)
    seconds = time.perf_counter() - began
    return _Measured(candidate, parts, evidence, _row_seconds(candidate, rows), seconds, found.computed, found.cached)


def _scores(features: Features, rows: Rows, seed: int) -> tuple[tuple[Floats, Floats], float]:
    """Per-row figures of neighbours and probe, and the evidence."""
    if rows.classes is not None:
        parts = knn_hits(features, rows.classes), probe_hits(features, rows.classes, seed)
        return parts, logme(features, one_hot(rows.classes))
    numbers = np.asarray(rows.numbers, np.float64)
    spread = float(numbers.std())
    standard = (numbers - numbers.mean()) / spread
    # Evidence of a model without a bias term: what it must explain has mean zero.
    return (knn_errors(features, standard), ridge_errors(features, standard, seed)), logme(features, standard[:, None])


def _row_seconds(candidate: Candidate, rows: Rows) -> float:
    """Seconds of one row, from a few that run outside the cache."""
    few = rows.few
    extractor = FeatureExtractor(candidate.backbone, candidate.tap.name, None)
    began = time.perf_counter()
    extractor.features(few, lambda done, total: None)
    return (time.perf_counter() - began) / len(few)


def _ordered(measured: Sequence[_Measured], rows: Rows, seed: int) -> tuple[Scored, ...]:
    spread = None
    if rows.numbers is not None:
        spread = ((rows.numbers - rows.numbers.mean()) / rows.numbers.std()) ** 2
    sign = 1.0 if spread is None else -1.0
    knn, probe = ([float(one.parts[i].mean()) for one in measured] for i in (0, 1))
    evidence = [one.logme for one in measured]
    means = combined([[sign * v for v in knn], evidence, [sign * v for v in probe]])
    sizes = ranks([one.candidate.parameters for one in measured])
    places = standings([one.parts for one in measured], spread, seed)
    scored = [
        Scored(
            candidate=one.candidate,
            knn=knn[i] if spread is None else 1 - knn[i],
            logme=evidence[i],
            probe=probe[i] if spread is None else 1 - probe[i],
            mean_rank=float(means[i]),
            size_rank=float(sizes[i]),
            standing=places[i],
            row_seconds=one.row_seconds,
            seconds=one.seconds,
            computed=one.computed,
            cached=one.cached,
        )
        for i, one in enumerate(measured)
    ]
    # Ties go to nearest neighbours, then to the smaller backbone, then to the name.
    return tuple(sorted(scored, key=lambda s: (s.mean_rank, -s.knn, s.candidate.parameters, s.candidate.version.name)))
