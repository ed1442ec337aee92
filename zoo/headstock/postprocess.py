"""From raw head outputs to answers: declarative, numpy only, the same code in training, prediction and serving.

A spec is a JSON object with a `kind`:

- `classification`: `{"kind": "classification", "labels": [...]}` answers `logits` and `probabilities` FP32 [n, classes]
  and `label` BYTES [n];
- `embedding`: `{"kind": "embedding", "width": d, "normalise": true}` answers `embedding` FP32 [n, d].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from headstock.errors import Unsupported
from headstock.records import TensorSpec

Floats = npt.NDArray[np.float32]


def softmax(logits: Floats) -> Floats:
    """Row-wise softmax of [n, classes], shifted by the row maximum."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    weights = np.exp(shifted)
    return (weights / weights.sum(axis=-1, keepdims=True)).astype(np.float32, copy=False)


def outputs(spec: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    """The tensors that a model with this spec answers, in order."""
    match spec.get("kind"):
        case "classification":
            labels = tuple(spec["labels"])
            return (
                TensorSpec("logits", "FP32", (-1, len(labels)), labels),
                TensorSpec("probabilities", "FP32", (-1, len(labels)), labels),
                TensorSpec("label", "BYTES", (-1,)),
            )
        case "embedding":
            return (TensorSpec("embedding", "FP32", (-1, int(spec["width"]))),)
        case kind:
            raise Unsupported(f"postprocessing kind {kind!r} is not known; expected 'classification' or 'embedding'")


def apply(spec: Mapping[str, Any], raw: Floats) -> dict[str, npt.NDArray[Any]]:
    """Answers for raw head outputs [n, out]; BYTES tensors are object arrays of `bytes`."""
    match spec.get("kind"):
        case "classification":
            names = np.array([label.encode() for label in spec["labels"]], dtype=object)
            return {"logits": raw, "probabilities": softmax(raw), "label": names[raw.argmax(axis=-1)]}
        case "embedding":
            if spec.get("normalise", True):
                norms = np.linalg.norm(raw, axis=-1, keepdims=True)
                raw = (raw / np.maximum(norms, np.float32(1e-12))).astype(np.float32, copy=False)
            return {"embedding": raw}
        case kind:
            raise Unsupported(f"postprocessing kind {kind!r} is not known; expected 'classification' or 'embedding'")
