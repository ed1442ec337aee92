"""Anomaly detection: from one distance per place of a map to a score per sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from headstock.postprocess.kind import Array, Contexts, Floats, Kind, Wanted
from headstock.records import TensorSpec


class Anomaly(Kind):
    """`{}` answers

    - `score` FP32 [n]: the largest value of the map; 1 is the threshold that the head learned from normal samples;
    - `anomalous` BOOL [n]: whether the score is above 1;
    - `anomaly_map` FP32 [n, height, width]: distance of each place to what is normal, in units of the threshold; its
      places are those of the tap, from the upper left.
    """

    name = "anomaly"

    def outputs(self, spec: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
        """Score, decision, map."""
        return (
            TensorSpec("score", "FP32", (-1,)),
            TensorSpec("anomalous", "BOOL", (-1,)),
            TensorSpec("anomaly_map", "FP32", (-1, -1, -1)),
        )

    def apply(self, spec: Mapping[str, Any], raw: Floats, contexts: Contexts, wanted: Wanted = ()) -> dict[str, Array]:
        """Raw outputs are the map [n, height, width]."""
        score = raw.reshape(len(raw), -1).max(axis=1)
        return {"score": score, "anomalous": score > np.float32(1), "anomaly_map": raw}
