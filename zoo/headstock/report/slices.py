"""Slices: the figure of short and long texts, dark and bright images, brief and long recordings, gappy table rows."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from headstock.data.cells import is_empty
from headstock.hookspecs import Metric

Bools = npt.NDArray[np.bool_]


def slice_metrics(kind: str, inputs: Sequence[Any], score: Callable[[Bools], Metric]) -> dict[str, Any] | None:
    """`score` of the rows [n] in each quartile of what inputs of this kind have: characters, brightness, seconds, or
    empty cells.

    None where they have none of these, and where all rows are alike.
    """
    measured = _measure(kind, inputs)
    if measured is None:
        return None
    by, values = measured
    edges = np.unique(np.quantile(values, [0, 0.25, 0.5, 0.75, 1]))
    if len(edges) < 2:
        return None
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    parts = []
    for index in range(len(edges) - 1):
        rows = place == index
        # Most rows may have the smallest value, and then a quartile may be empty.
        if rows.any():
            part = {"from": float(edges[index]), "to": float(edges[index + 1]), "rows": int(rows.sum())}
            parts.append({**part, **asdict(score(rows))})
    return {"by": by, "slices": parts}


def _measure(kind: str, inputs: Sequence[Any]) -> tuple[str, npt.NDArray[np.float64]] | None:
    if kind == "text":
        return "characters", np.array([len(text) for text in inputs], np.float64)
    if kind == "image":
        from headstock.report.features import pixels

        return "brightness", pixels(inputs).mean(axis=1)
    if kind == "table":
        return "empty cells", np.array([sum(map(is_empty, json.loads(row).values())) for row in inputs], np.float64)
    if kind in ("waveform", "mfcc"):
        return "seconds", np.array([_seconds(data) for data in inputs])
    return None


def _seconds(data: bytes) -> float:
    import soundfile

    return float(soundfile.info(io.BytesIO(data)).duration)
