"""Group metrics: the same rates for every value of a column, and the gaps between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from headstock.hookspecs import Metric
from headstock.metrics import wilson

Ints = npt.NDArray[np.int64]


def group_metrics(groups: Sequence[str], predicted: Ints, truth: Ints, labels: Sequence[str]) -> dict[str, Any]:
    """Rates of every group and every class, and their gaps; arrays are [n], `labels` name the classes.

    The gaps are those of fairlearn (https://fairlearn.org, "Common fairness metrics"), per class as the positive one:
    demographic parity difference is the largest minus the smallest selection rate; equalised odds difference is the
    larger of the same for true positive rates and for false positive rates. Groups without the rows that a rate needs
    take no part in its gap, where fairlearn counts them as 0. A gap is `flagged` where the Wilson intervals of its two
    groups do not overlap.
    """
    names = sorted(set(groups))
    column = np.array(groups)
    members = {name: column == name for name in names}
    everyone = np.ones(len(truth), bool)
    accuracy = {name: _rate(rows & (predicted == truth), rows) for name, rows in members.items()}
    return {
        "groups": names,
        "accuracy": accuracy,
        "accuracy_gap": _gap(accuracy),
        "classes": {
            label: _class_rates(members, everyone, predicted == index, truth == index)
            for index, label in enumerate(labels)
        },
    }


def group_figures(groups: Sequence[str], score: Callable[[npt.NDArray[np.bool_]], Metric]) -> dict[str, Any]:
    """The same layout for heads without classes: `score` of each group's rows, and the gap of the figure."""
    column = np.array(groups)
    found = {
        name: {**asdict(score(column == name)), "rows": int((column == name).sum())} for name in sorted(set(groups))
    }
    known: dict[str, dict[str, Any] | None] = dict(found)
    return {"groups": list(found), "accuracy": found, "accuracy_gap": _gap(known), "classes": {}}


def _class_rates(
    members: dict[str, npt.NDArray[np.bool_]],
    everyone: npt.NDArray[np.bool_],
    selected: npt.NDArray[np.bool_],
    positive: npt.NDArray[np.bool_],
) -> dict[str, Any]:
    selection = {name: _rate(rows & selected, rows & everyone) for name, rows in members.items()}
    hits = {name: _rate(rows & selected & positive, rows & positive) for name, rows in members.items()}
    alarms = {name: _rate(rows & selected & ~positive, rows & ~positive) for name, rows in members.items()}
    odds = [gap for gap in (_gap(hits), _gap(alarms)) if gap is not None]
    return {
        "selection_rate": selection,
        "true_positive_rate": hits,
        "false_positive_rate": alarms,
        "demographic_parity_difference": _gap(selection),
        "equalised_odds_difference": max(odds, key=lambda gap: float(gap["value"])) if odds else None,
    }


def _rate(hits: npt.NDArray[np.bool_], rows: npt.NDArray[np.bool_]) -> dict[str, Any] | None:
    n = int(rows.sum())
    return None if n == 0 else {**asdict(wilson("rate", int(hits.sum()), n)), "rows": n}


def _gap(rates: dict[str, dict[str, Any] | None]) -> dict[str, Any] | None:
    known = {name: rate for name, rate in rates.items() if rate is not None}
    if len(known) < 2:
        return None
    most = max(known, key=lambda name: float(known[name]["value"]))
    least = min(known, key=lambda name: float(known[name]["value"]))
    return {
        "value": known[most]["value"] - known[least]["value"],
        "most": most,
        "least": least,
        "flagged": bool(known[most]["low"] > known[least]["high"]),
    }


def group_of(cell: Any) -> str:
    """The group that a cell names; an empty one is a group too."""
    return "" if cell is None else str(cell)
