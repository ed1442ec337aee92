"""Speech recognition: from one logit per label and frame to text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from headstock.ctc import greedy, log_softmax
from headstock.postprocess.kind import Array, Contexts, Floats, Kind, Wanted, asks, padded, texts
from headstock.records import TensorSpec

BLANK = "<blank>"
"""How metadata calls the last class, which is no label."""


class Transcript(Kind):
    """`{"alphabet": [...]}` answers

    - `text` BYTES [n]: the likeliest label of every frame, repeats and blanks collapsed, spaces at the ends cut;
    - `confidence` FP32 [n]: the geometric mean over the frames of the probability of what was read, from 0 to 1;
    - `logits` FP32 [n, most frames, labels + 1], the blank last, zeros behind a row's end; `lengths` INT64 [n]: frames.
    """

    name = "transcript"
    per_position = True

    def outputs(self, spec: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
        """Text, confidence, logits, lengths."""
        labels = (*spec["alphabet"], BLANK)
        return (
            TensorSpec("text", "BYTES", (-1,)),
            TensorSpec("confidence", "FP32", (-1,)),
            TensorSpec("logits", "FP32", (-1, -1, len(labels)), labels),
            TensorSpec("lengths", "INT64", (-1,)),
        )

    def apply(
        self, spec: Mapping[str, Any], raw: Sequence[Floats], contexts: Contexts, wanted: Wanted = ()
    ) -> dict[str, Array]:
        """Raw outputs are the logits of each row's frames."""
        logits, lengths = padded(raw)
        if not asks(wanted, "text", "confidence"):
            return {"logits": logits, "lengths": lengths}
        read = [greedy(log_softmax(row), spec["alphabet"]) for row in raw]
        confidence = np.exp([r.score / max(len(row), 1) for r, row in zip(read, raw, strict=True)])
        return {
            "text": texts([r.text.strip() for r in read]),
            "confidence": confidence.astype(np.float32),
            "logits": logits,
            "lengths": lengths,
        }
