"""Slices: accuracy of short and long texts, dark and bright images, brief and lengthy recordings."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from headstock.metrics import wilson


def slice_metrics(kind: str, inputs: Sequence[Any], right: npt.NDArray[np.bool_]) -> dict[str, Any] | None:
    """Accuracy over quartiles of what inputs of this kind have: characters, brightness or seconds; [n] rows.

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
        score = asdict(wilson("accuracy", int(right[rows].sum()), int(rows.sum())))
        parts.append({"from": float(edges[index]), "to": float(edges[index + 1]), "rows": int(rows.sum()), **score})
    return {"by": by, "slices": parts}


def _measure(kind: str, inputs: Sequence[Any]) -> tuple[str, npt.NDArray[np.float64]] | None:
    if kind == "text":
        return "characters", np.array([len(text) for text in inputs], np.float64)
    if kind == "image":
        from headstock.report.features import pixels

        return "brightness", pixels(inputs).mean(axis=1)
    if kind in ("waveform", "mfcc"):
        return "seconds", np.array([_seconds(data) for data in inputs])
    return None


def _seconds(data: bytes) -> float:
    import soundfile

    return float(soundfile.info(io.BytesIO(data)).duration)
