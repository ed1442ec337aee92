"""Alone equals together: measures whether a row's answer depends on the rows that share its batch."""

from __future__ import annotations

import platform
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from headstock.backbone.samples import Samples
from headstock.graph import Graph
from headstock.preprocess import Preprocessor, Row
from headstock.preprocess.padded import Collate
from headstock.preprocess.spec import Array
from headstock.records import BackboneIdentity, Certificate, Tap, artefact_of

BATCH_SIZES = (1, 2, 3, 8)
"""Batch sizes that are tried with every kind of company; a row alone is the reference."""
LARGE_SIZES = (5, 16, 33, 64)
"""Batch sizes that are tried once each, with rows of near lengths, as a lane would put them together."""
ROWS = LARGE_SIZES[-1]
"""Rows up to which a certificate is meant to speak, unless more are asked for."""
SECONDS = 4.0
"""Processor time that large batches may take: what is not reached by then is not proven."""

_SHUFFLES = 3
# What FP32 graphs were measured to keep on the CPU, and what a leak of any size breaks, is bit-equality. On a GPU other
# shapes take other kernels: as near as a graph must be to torch, and for half precision a few of its steps.
_TOLERANCES: Mapping[str, Mapping[str, float]] = {
    "CPUExecutionProvider": {"": 0.0},
    "CUDAExecutionProvider": {"fp32": 1e-4, "fused-fp32": 1e-4, "fp16": 5e-3},
    "TensorrtExecutionProvider": {"fp32": 1e-4, "fused-fp32": 1e-4, "fp16": 5e-3},
}
# JSON has no infinity: the largest FP32 number stands for a difference with a value that is not finite.
_NOT_FINITE = float(np.finfo(np.float32).max)


def tolerance_for(provider: str, precision: str) -> float:
    """The largest difference that is allowed there, over the tap's scale; 0.0, bit-equality, where none is stated."""
    stated = _TOLERANCES.get(provider, {})
    return stated.get(precision.partition("@")[0], stated.get("", 0.0))


def certify(
    graph: Graph,
    identity: BackboneIdentity,
    preprocessor: Preprocessor,
    samples: Samples,
    *,
    rows: int = ROWS,
    tolerance: float | None = None,
    collate: Collate | None = None,
    seconds: float = SECONDS,
) -> Certificate:
    """The isolation certificate of a graph: every row of every batch against the same row alone.

    Batches mix lengths as the padding rule allows, put each row in different slots, and include hostile company:
    rows of maximal length, one token repeated, copies of the row itself. Larger ones follow, up to `rows`, while
    `seconds` last; the certificate says how far they got. `tolerance` is that of the provider and precision unless
    given; `collate` makes the batches if the preprocessor's own is not what serves.
    """
    trial = _Trial(graph, identity.taps, collate or preprocessor.collate)
    for batch in _batches(samples, identity.padding == "equal-length"):
        trial.run(batch)
    proven = _proven(trial, samples, identity.padding == "equal-length", rows, seconds)
    tolerance = tolerance_for(graph.provider, identity.precision) if tolerance is None else tolerance
    return Certificate(
        backbone=artefact_of("backbone", identity.to_json()).digest,
        tolerance=tolerance,
        measured=trial.measured,
        # No batch at all (no two rows of equal length) proves nothing.
        shared=trial.batches > 0 and trial.measured <= tolerance,
        provider=graph.provider,
        detail=_detail(identity, samples, trial, proven),
    )


class _Trial:
    """What was run so far, and how far any row moved."""

    def __init__(self, graph: Graph, taps: Sequence[Tap], collate: Collate) -> None:
        self.worst = {tap.name: 0.0 for tap in taps}
        self.batches = 0
        self.sizes = {1}
        self._graph = graph
        self._taps = taps
        self._names = [tap.name for tap in taps]
        self._collate = collate
        self._alone: dict[int, list[Array]] = {}

    @property
    def measured(self) -> float:
        """The largest difference of any tap, over its scale."""
        return max(self.worst.values())

    def run(self, rows: Sequence[Row]) -> None:
        """One batch, every row of it against itself alone."""
        self.batches += 1
        self.sizes.add(len(rows))
        for row in rows:
            if id(row) not in self._alone:
                self._alone[id(row)] = [out[0] for out in self._graph.run(self._collate([row]), self._names)]
        together = self._graph.run(self._collate(rows), self._names)
        for slot, row in enumerate(rows):
            for tap, output, reference in zip(self._taps, together, self._alone[id(row)], strict=True):
                # What stands behind a row's own positions belongs to nobody.
                own = tap.positions(row.steps) if tap.ragged else None
                moved = _difference(output[slot][:own], reference[:own])
                self.worst[tap.name] = max(self.worst[tap.name], moved)


def _difference(together: Array, alone: Array) -> float:
    """Largest difference of a row's values, over their scale, which counts as at least 1."""
    if together.shape != alone.shape or not (np.isfinite(together).all() and np.isfinite(alone).all()):
        return _NOT_FINITE
    scale = max(1.0, float(np.abs(alone).max(initial=0.0)))
    return float(np.abs(together - alone).max(initial=0.0)) / scale


def _batches(samples: Samples, equal_length: bool) -> Iterator[list[Row]]:
    if equal_length:
        yield from (batch for pool in _pools(samples) if len(pool) > 1 for batch in _mixed(pool))
        return
    yield from _mixed(list(samples.ordinary))
    order = random.Random(1)
    for size in BATCH_SIZES[1:]:
        company = order.sample(samples.ordinary, size - 1)
        for row in samples.longest:
            batch = [*company, row]
            order.shuffle(batch)
            yield batch


def _pools(samples: Samples) -> list[list[Row]]:
    """Rows that may meet where padding is not allowed."""
    lengths = {row.length for row in samples.ordinary}
    pools = [[row for row in samples.ordinary if row.length == length] for length in sorted(lengths)]
    return [*pools, list(samples.longest)]


def _mixed(pool: Sequence[Row]) -> Iterator[list[Row]]:
    """Shuffles of the pool in batches of every size, so that rows meet in different slots; then copies of one row."""
    order = random.Random(0)
    for size in BATCH_SIZES[1:]:
        for _ in range(_SHUFFLES):
            yield order.sample(pool, min(size, len(pool)))
    yield [pool[0]] * BATCH_SIZES[-1]
    # Every row stands in a batch at least once.
    for start in range(0, len(pool), BATCH_SIZES[-1]):
        yield list(pool[start : start + BATCH_SIZES[-1]])


def _proven(trial: _Trial, samples: Samples, equal_length: bool, rows: int, seconds: float) -> int:
    """Run batches of growing size for at most about `seconds`; the largest that was run."""
    if trial.batches == 0:
        return 1
    # Rows of one length may be few: what counts here is how many there are in a batch, not who.
    pool = next(p for p in _pools(samples) if len(p) > 1) if equal_length else _short(samples)
    order = random.Random(2)
    proven, expected = max(trial.sizes), 0.0
    # By processor time: a busy machine must not prove less.
    deadline = time.process_time() + seconds
    for size in [s for s in (*LARGE_SIZES, *_doublings(rows)) if s <= rows]:
        start = time.process_time()
        if start + expected > deadline:
            break
        trial.run(order.choices(pool, k=size))
        proven = max(proven, size)
        # The next is about twice as large; the rows that run alone for the first time are not counted out.
        expected = 2 * (time.process_time() - start)
    return min(proven, rows)


def _doublings(rows: int) -> Iterator[int]:
    size = 2 * ROWS
    while size < rows:
        yield size
        size *= 2
    if rows > ROWS:
        yield rows


def _short(samples: Samples) -> list[Row]:
    """The shorter half: many rows share a pass only where they are short."""
    rows = sorted(samples.ordinary, key=lambda row: row.length)
    return rows[: max(2, len(rows) // 2)]


def _detail(identity: BackboneIdentity, samples: Samples, trial: _Trial, proven: int) -> dict[str, Any]:
    import onnxruntime

    rows = (*samples.ordinary, *samples.longest)
    return {
        "rows": proven,
        "batch_sizes": sorted(trial.sizes),
        "batches": trial.batches,
        "lengths": sorted({row.length for row in rows}),
        "neighbours": ["ragged", "longest", "repeated", "single", "copies"],
        "padding": identity.padding,
        "measured": trial.worst,
        "threads": 1,
        "onnxruntime": onnxruntime.__version__,
        "machine": platform.machine(),
    }
