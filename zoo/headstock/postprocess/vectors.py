"""Kinds whose raw outputs are one vector per row: classes, label sets, numbers, embeddings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from headstock.postprocess.kind import Array, Contexts, Floats, Kind, Wanted, asks, sigmoid, softmax, texts
from headstock.records import TensorSpec


class Classification(Kind):
    """`{"labels": [...]}` answers `logits` and `probabilities` FP32 [n, classes] and `label` BYTES [n]."""

    name = "classification"

    def outputs(self, spec: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
        """Logits, probabilities that sum to 1, and the likeliest class's name."""
        labels = tuple(spec["labels"])
        return (
            TensorSpec("logits", "FP32", (-1, len(labels)), labels),
            TensorSpec("probabilities", "FP32", (-1, len(labels)), labels),
            TensorSpec("label", "BYTES", (-1,)),
        )

    def apply(self, spec: Mapping[str, Any], raw: Floats, contexts: Contexts, wanted: Wanted = ()) -> dict[str, Array]:
        """Raw outputs are the logits."""
        answers: dict[str, Array] = {"logits": raw}
        if asks(wanted, "probabilities"):
            answers["probabilities"] = softmax(raw)
        if asks(wanted, "label"):
            labels = spec["labels"]
            # Of a thousand labels, those of these rows.
            answers["label"] = texts([labels[index] for index in raw.argmax(axis=-1).tolist()])
        return answers


class MultiLabel(Kind):
    """`{"labels": [...], "threshold": t}` answers `logits` and `probabilities` FP32 [n, labels], each of 0 to 1 by
    itself, and `labels` BYTES [n]: a JSON list of the names whose probability is above t, likeliest first."""

    name = "multi-label"

    def outputs(self, spec: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
        """Logits, probabilities, names."""
        labels = tuple(spec["labels"])
        return (
            TensorSpec("logits", "FP32", (-1, len(labels)), labels),
            TensorSpec("probabilities", "FP32", (-1, len(labels)), labels),
            TensorSpec("labels", "BYTES", (-1,)),
        )

    def apply(self, spec: Mapping[str, Any], raw: Floats, contexts: Contexts, wanted: Wanted = ()) -> dict[str, Array]:
        """Raw outputs are the logits."""
        answers: dict[str, Array] = {"logits": raw}
        if not asks(wanted, "probabilities", "labels"):
            return answers
        probabilities = answers["probabilities"] = sigmoid(raw)
        names, threshold = spec["labels"], spec["threshold"]
        chosen = [
            [names[i] for i in np.argsort(-row, kind="stable").tolist() if row[i] > threshold] for row in probabilities
        ]
        answers["labels"] = texts([json.dumps(row, ensure_ascii=False) for row in chosen])
        return answers


class Regression(Kind):
    """`{"unit": "..."}` answers `value` FP32 [n] in that unit."""

    name = "regression"

    def outputs(self, spec: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
        """The number."""
        return (TensorSpec("value", "FP32", (-1,)),)

    def apply(self, spec: Mapping[str, Any], raw: Floats, contexts: Contexts, wanted: Wanted = ()) -> dict[str, Array]:
        """Raw outputs are the numbers [n, 1]."""
        return {"value": raw[:, 0]}


class Embedding(Kind):
    """`{"width": d, "normalise": true}` answers `embedding` FP32 [n, d], of length 1 if `normalise`."""

    name = "embedding"

    def outputs(self, spec: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
        """The vector."""
        return (TensorSpec("embedding", "FP32", (-1, int(spec["width"]))),)

    def apply(self, spec: Mapping[str, Any], raw: Floats, contexts: Contexts, wanted: Wanted = ()) -> dict[str, Array]:
        """Raw outputs are the vectors."""
        if spec.get("normalise", True):
            norms = np.linalg.norm(raw, axis=-1, keepdims=True)
            raw = (raw / np.maximum(norms, np.float32(1e-12))).astype(np.float32, copy=False)
        return {"embedding": raw}
