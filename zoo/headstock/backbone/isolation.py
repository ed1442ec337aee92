"""Alone equals together: measures whether a row's answer depends on the rows that share its batch."""

from __future__ import annotations

import platform
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from headstock.backbone.samples import Samples
from headstock.graph import Graph
from headstock.preprocess import Preprocessor, Row
from headstock.preprocess.spec import Array
from headstock.records import BackboneIdentity, Certificate, artefact_of

BATCH_SIZES = (1, 2, 3, 8)
"""Batch sizes that are tried; a row alone is the reference."""
_SHUFFLES = 3
# Bit-equality on the CPU: what FP32 graphs there were measured to keep, and what a leak of any size breaks.
_TOLERANCE = {"CPUExecutionProvider": 0.0}
# JSON has no infinity: the largest FP32 number stands for a difference with a value that is not finite.
_NOT_FINITE = float(np.finfo(np.float32).max)


def certify(graph: Graph, identity: BackboneIdentity, preprocessor: Preprocessor, samples: Samples) -> Certificate:
    """The isolation certificate of a graph: every row of every batch against the same row alone.

    Batches mix lengths as the padding rule allows, put each row in different slots, and include hostile company:
    rows of maximal length, one token repeated, copies of the row itself.
    """
    taps = [tap.name for tap in identity.taps]
    worst = dict.fromkeys(taps, 0.0)
    alone: dict[int, list[Array]] = {}
    batches = 0
    for rows in _batches(samples, identity.padding == "equal-length"):
        batches += 1
        for row in rows:
            if id(row) not in alone:
                alone[id(row)] = [out[0] for out in graph.run(preprocessor.collate([row]), taps)]
        together = graph.run(preprocessor.collate(rows), taps)
        for slot, row in enumerate(rows):
            for tap, output, reference in zip(taps, together, alone[id(row)], strict=True):
                worst[tap] = max(worst[tap], _difference(output[slot], reference))
    measured = max(worst.values())
    tolerance = _TOLERANCE[graph.provider]
    return Certificate(
        backbone=artefact_of("backbone", identity.to_json()).digest,
        tolerance=tolerance,
        measured=measured,
        # No batch at all (no two rows of equal length) proves nothing.
        shared=batches > 0 and measured <= tolerance,
        provider=graph.provider,
        detail=_detail(identity, samples, batches, worst),
    )


def _difference(together: Array, alone: Array) -> float:
    """Largest absolute difference where the row has values of its own; padding behind it belongs to nobody."""
    own = together[tuple(slice(0, size) for size in alone.shape)]
    if own.shape != alone.shape or not (np.isfinite(own).all() and np.isfinite(alone).all()):
        return _NOT_FINITE
    return float(np.abs(own - alone).max(initial=0.0))


def _batches(samples: Samples, equal_length: bool) -> Iterator[list[Row]]:
    if equal_length:
        lengths = {row.length for row in samples.ordinary}
        pools = [[row for row in samples.ordinary if row.length == length] for length in sorted(lengths)]
        yield from (batch for pool in [*pools, list(samples.longest)] if len(pool) > 1 for batch in _mixed(pool))
        return
    yield from _mixed(list(samples.ordinary))
    order = random.Random(1)
    for size in BATCH_SIZES[1:]:
        company = order.sample(samples.ordinary, size - 1)
        for row in samples.longest:
            batch = [*company, row]
            order.shuffle(batch)
            yield batch


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


def _detail(identity: BackboneIdentity, samples: Samples, batches: int, worst: dict[str, float]) -> dict[str, Any]:
    import onnxruntime

    rows = (*samples.ordinary, *samples.longest)
    return {
        "batch_sizes": list(BATCH_SIZES),
        "batches": batches,
        "lengths": sorted({row.length for row in rows}),
        "neighbours": ["ragged", "longest", "repeated", "single", "copies"],
        "padding": identity.padding,
        "measured": worst,
        "threads": 1,
        "onnxruntime": onnxruntime.__version__,
        "machine": platform.machine(),
    }
