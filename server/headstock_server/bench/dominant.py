"""Finds the adapter that has a lane of adapters nearly to itself, and so pays for a graph that it does not need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

SHARE, LEAST_ROWS = 0.9, 100
"""Of a lane's rows, and rows that the lane has at least: fewer say little about tomorrow's."""


def dominant(passes: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """One line for each model with at least `SHARE` of the rows of a lane of adapters, from a batch trace's passes."""
    lanes: dict[tuple[str, str], Counter[str]] = {}
    for item in passes:
        if item.get("adapters"):
            lanes.setdefault((item.get("backbone", ""), item["adapters"]), Counter()).update(item["models"])
    for models in lanes.values():
        (model, rows), total = models.most_common(1)[0], models.total()
        if total >= LEAST_ROWS and rows >= SHARE * total:
            yield (
                f"{model} has {rows / total:.0%} of the {total} rows that ran in the graph with adapters; merged they "
                f"cost what plain ones do: headstock variant {model} --merge-adapter"
            )
