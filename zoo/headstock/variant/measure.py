"""How near a variant's graph is to the plain one, and how fast beside it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstock.backbone.samples import Samples
from headstock.errors import FailedPrecondition
from headstock.graph import Graph
from headstock.preprocess import Preprocessor, Row
from headstock.preprocess.spec import Array
from headstock.providers import PROVIDER
from headstock.records import Tap

_ROWS = (1, 8)
_ROUNDS = 7


@dataclass(frozen=True, slots=True)
class Agreement:
    """How one tap of a variant differs from the plain graph's."""

    cosine: float
    """Smallest cosine of any vector with the plain one; -1.0 where a value is not finite."""
    max_error: float
    """Largest absolute difference."""
    scale: float
    """Largest absolute value of the plain graph."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Time of one pass, medians of interleaved runs: of the processor on a CPU, by the clock elsewhere."""

    rows: int
    length: int
    plain_ms: float
    variant_ms: float
    ratio: float
    """Variant over plain, the median of each round's own ratio; below 1 is faster."""


def agreement(
    plain: Graph, variant: Graph, preprocessor: Preprocessor, samples: Samples, taps: Sequence[Tap]
) -> dict[str, Agreement]:
    """Every tap on every sample row by itself, padding apart: what stands behind a row's end is nobody's."""
    names = [tap.name for tap in taps]
    worst = {name: Agreement(1.0, 0.0, 0.0) for name in names}
    for row in (*samples.ordinary, *samples.longest):
        feeds = preprocessor.collate([row])
        for name, one, other in zip(names, plain.run(feeds, names), variant.run(feeds, names), strict=True):
            found = _compare(one, other)
            worst[name] = Agreement(
                min(worst[name].cosine, found.cosine),
                max(worst[name].max_error, found.max_error),
                max(worst[name].scale, found.scale),
            )
    return worst


def require_agreement(found: Mapping[str, Agreement], least: float, precision: str) -> None:
    """Raise `FailedPrecondition` naming the first tap whose vectors turn further away than is allowed."""
    for name, tap in found.items():
        if not tap.cosine >= least:
            raise FailedPrecondition(
                f"at precision {precision} tap {name!r} turns a vector away from the plain graph's (cosine "
                f"{tap.cosine:.4f}); expected at least {least}, so there is no such variant of this backbone",
                fix="headstock variant with another --precision",
            )


def require_faster(measured: Sequence[Speed], most: float, precision: str) -> None:
    """Raise `FailedPrecondition` unless the geometric mean of all ratios is at most `most`."""
    mean = statistics.geometric_mean(speed.ratio for speed in measured)
    if not mean <= most:
        raise FailedPrecondition(
            f"at precision {precision} passes take {mean:.2f} of the plain graph's time on this machine; expected at "
            f"most {most}, so there is no such variant of this backbone",
            fix="serve the plain backbone, or headstock variant with another --precision",
        )


def speeds(plain: Graph, variant: Graph, preprocessor: Preprocessor, samples: Samples, tap: str) -> list[Speed]:
    """Both graphs on passes of few and many rows, short, middling and longest; runs take turns."""
    rows = sorted(samples.ordinary, key=lambda row: row.length)
    chosen = {row.length: row for row in (rows[0], rows[len(rows) // 2], samples.longest[0])}
    return [
        _speed(plain, variant, preprocessor.collate([row] * count), row, count, tap)
        for row in chosen.values()
        for count in _ROWS
    ]


def _speed(plain: Graph, variant: Graph, feeds: Mapping[str, Array], row: Row, count: int, tap: str) -> Speed:
    taken: list[tuple[float, float]] = []
    for _ in range(_ROUNDS + 1):
        taken.append((_seconds(plain, feeds, tap), _seconds(variant, feeds, tap)))
    # The first round warms up: ONNX Runtime plans its memory for each shape once.
    taken = taken[1:]
    one, other = (statistics.median(column) * 1e3 for column in zip(*taken, strict=True))
    return Speed(count, row.length, one, other, statistics.median(v / max(p, 1e-9) for p, v in taken))


def _seconds(graph: Graph, feeds: Mapping[str, Array], tap: str) -> float:
    clock = time.thread_time if graph.provider == PROVIDER["cpu"] else time.perf_counter
    start = clock()
    graph.run(feeds, [tap])
    return clock() - start


def _compare(plain: Array, variant: Array) -> Agreement:
    if plain.shape != variant.shape or not np.isfinite(variant).all():
        return Agreement(-1.0, float("inf"), float(np.abs(plain).max(initial=0.0)))
    one, other = (_vectors(array) for array in (plain, variant))
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosines = np.where(lengths > 0, (one * other).sum(axis=1) / np.where(lengths > 0, lengths, 1.0), 1.0)
    return Agreement(
        float(cosines.min(initial=1.0)),
        float(np.abs(plain - variant).max(initial=0.0)),
        float(np.abs(plain).max(initial=0.0)),
    )


def _vectors(array: Array) -> Any:
    return array.reshape(-1, array.shape[-1]).astype(np.float64)
