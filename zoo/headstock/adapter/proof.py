"""Alone equals together for the graph that takes adapters: rows with different adapters in one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from headstock.adapter.graph import INDEX
from headstock.adapter.parameters import Pair
from headstock.backbone.isolation import certify
from headstock.preprocess import Row
from headstock.preprocess.padded import Collate, padded

if TYPE_CHECKING:
    from headstock.backbone.samples import Samples
    from headstock.graph import Graph
    from headstock.preprocess import Preprocessor
    from headstock.preprocess.spec import Array
    from headstock.records import BackboneIdentity, Certificate

LEAST_STEPS = 2
"""Steps that a pass of adapted rows has at least. A single one takes another kernel (a vector times a matrix that is no
constant), which adds in another order: measured, a row of one token moves by 3e-7 in the company of longer ones."""

_SLOTS = 4
_HOSTILE = 30.0


def certify_adapters(
    graph: Graph,
    identity: BackboneIdentity,
    preprocessor: Preprocessor,
    samples: Samples,
    parameters: Mapping[str, Pair],
) -> Certificate:
    """As `certify`, of the adapters' graph, in passes of `LEAST_STEPS`: every row keeps its adapter in any company.

    Rows have no adapter, that of `parameters`, one of its size at random, or one thirty times as large.
    """
    collate: Collate = preprocessor.collate
    if identity.padding != "equal-length" and any(-1 in spec.shape[1:] for spec in identity.inputs):
        collate = padded(collate, lambda steps: max(steps, LEAST_STEPS))
    mixed = mixed_adapters(collate, samples, parameters)
    return certify(graph, identity, preprocessor, samples, collate=mixed)


def mixed_adapters(collate: Collate, samples: Samples, parameters: Mapping[str, Pair]) -> Collate:
    """`collate` with the adapters' inputs beside it; sample i has the adapter in slot i modulo 4."""
    stacked = _stacked(parameters)
    slots = {id(row): i % _SLOTS for i, row in enumerate((*samples.ordinary, *samples.longest))}

    def mixed(rows: Sequence[Row]) -> Mapping[str, Array]:
        own = np.array([slots[id(row)] for row in rows], np.int64)
        return {**collate(rows), INDEX: own, **stacked}

    return mixed


def _stacked(parameters: Mapping[str, Pair]) -> dict[str, Array]:
    generator = np.random.default_rng(0)
    stacked = {}
    for name, pair in parameters.items():
        for part, array in zip("AB", pair, strict=True):
            # A new adapter's B is zero: the others must not be.
            size = float(np.abs(array).max(initial=0.0)) or 1e-2
            other = (generator.normal(size=array.shape) * size).astype(np.float32)
            hostile = other * np.float32(_HOSTILE) if part == "B" else other
            stacked[f"{name}.{part}"] = np.stack([np.zeros_like(array), array, other, hostile])
    return stacked
