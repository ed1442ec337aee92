"""How far a merged adapter is from the row form: features of every tap, and the answers that a caller sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from headstock.backbone.parity import LIMIT, TapParity
from headstock.errors import FailedPrecondition
from headstock.graph import Graph
from headstock.servable import load_linear

if TYPE_CHECKING:
    from headstock.backbone.samples import Samples
    from headstock.preprocess import Preprocessor
    from headstock.preprocess.spec import Array
    from headstock.servable import ServableModel

ANSWERS = "answers"
"""Stands beside the taps' names for what the head makes of its own tap, before postprocessing."""


def measure_merged(
    row_form: Graph, merged: Graph, model: ServableModel, preprocessor: Preprocessor, samples: Samples
) -> dict[str, TapParity]:
    """The largest difference per tap and of the `ANSWERS`, over every sample row by itself.

    Both forms are certified to give a row the same alone as in company, so rows alone speak for all.
    """
    taps = [tap.name for tap in model.backbone.identity.taps]
    head = _head(model)
    worst = dict.fromkeys((*taps, ANSWERS), TapParity(0.0, 0.0))
    for row in (*samples.ordinary, *samples.longest):
        feeds = preprocessor.collate([row])
        one = dict(zip(taps, row_form.run(feeds, taps), strict=True))
        other = dict(zip(taps, merged.run(feeds, taps), strict=True))
        one[ANSWERS], other[ANSWERS] = head(one[model.head.tap]), head(other[model.head.tap])
        for what in worst:
            worst[what] = _worse(worst[what], one[what], other[what])
    return worst


def require_merged(found: Mapping[str, TapParity], version: str) -> None:
    """Raise `FailedPrecondition` naming the first tap, or the answers, further apart than `LIMIT` times the scale."""
    for what, parity in found.items():
        allowed = LIMIT * max(1.0, parity.scale)
        if not parity.max_error <= allowed:
            named = what if what == ANSWERS else f"tap {what!r}"
            raise FailedPrecondition(
                f"with its adapter merged, {named} of {version} would differ from the row form by "
                f"{parity.max_error:.3g}; expected at most {allowed:.3g}, so it is not published",
                fix=f"serve {version} as it is: its rows share passes with those of other adapters",
            )


def _head(model: ServableModel) -> Callable[[Array], Array]:
    if model.head.form == "graph":
        graph = Graph(model.parameters)
        return lambda features: graph.run({graph.inputs[0]: features}, graph.outputs)[0]
    weight, bias = load_linear(model.parameters)
    return lambda features: features @ weight + bias


def _worse(known: TapParity, one: Array, other: Array) -> TapParity:
    if one.shape != other.shape:
        return TapParity(float("inf"), known.scale)
    # NaN compares false with everything, so it must not pass as small.
    error = float(np.abs(one - other).max(initial=0.0))
    error = error if np.isfinite(error) else float("inf")
    return TapParity(max(known.max_error, error), max(known.scale, float(np.abs(one).max(initial=0.0))))
