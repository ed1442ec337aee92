"""What can be asked of a model beyond raw tensors: which outputs, and how they become answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from headstock_client.types import (
    Anomaly,
    Answer,
    Array,
    Classification,
    Entity,
    InferResult,
    LabelSet,
    Transcript,
)

T = TypeVar("T")
Labels = Sequence[str]


@dataclass(frozen=True, slots=True)
class Question(Generic[T]):
    """One thing to ask: the outputs it needs and the answer they make."""

    outputs: tuple[str, ...]
    answer: Callable[[InferResult, Labels], T]
    """Given the result and, if `labelled`, the names of the classes."""
    labelled: bool = False


def _classifications(result: InferResult, labels: Labels) -> list[Classification]:
    rows = result.outputs["probabilities"].tolist()
    return [Classification(w, _named(labels, r)) for w, r in zip(_texts(result, "label"), rows, strict=True)]


def _label_sets(result: InferResult, labels: Labels) -> list[LabelSet]:
    rows = result.outputs["probabilities"].tolist()
    return [
        LabelSet(tuple(json.loads(chosen)), _named(labels, row))
        for chosen, row in zip(_texts(result, "labels"), rows, strict=True)
    ]


def _entities(result: InferResult, labels: Labels) -> list[list[Entity]]:
    return [[Entity(**span) for span in json.loads(row)] for row in _texts(result, "entities")]


def _answers(result: InferResult, labels: Labels) -> list[Answer]:
    numbers = (result.outputs[name].tolist() for name in ("start", "end", "score"))
    return [Answer(*row) for row in zip(_texts(result, "answer"), *numbers, strict=True)]


def _transcripts(result: InferResult, labels: Labels) -> list[Transcript]:
    return [Transcript(*row) for row in zip(_texts(result, "text"), result.outputs["confidence"].tolist(), strict=True)]


def _anomalies(result: InferResult, labels: Labels) -> list[Anomaly]:
    maps: Sequence[Array] = list(result.outputs["anomaly_map"])
    scores, decisions = result.outputs["score"].tolist(), result.outputs["anomalous"].tolist()
    return [Anomaly(*row) for row in zip(scores, decisions, maps, strict=True)]


def _embedding(result: InferResult, labels: Labels) -> Array:
    return result.outputs["embedding"]


def _value(result: InferResult, labels: Labels) -> Array:
    return np.asarray(result.outputs["value"])


def _texts(result: InferResult, name: str) -> list[str]:
    return [value.decode() for value in result.outputs[name].tolist()]


def _named(labels: Labels, row: Sequence[float]) -> dict[str, float]:
    return dict(zip(labels, row, strict=True))


CLASSIFY = Question(("probabilities", "label"), _classifications, labelled=True)
LABEL_SETS = Question(("probabilities", "labels"), _label_sets, labelled=True)
EMBED = Question(("embedding",), _embedding)
REGRESS = Question(("value",), _value)
ENTITIES = Question(("entities",), _entities)
ANSWER = Question(("answer", "start", "end", "score"), _answers)
TRANSCRIBE = Question(("text", "confidence"), _transcripts)
INSPECT = Question(("score", "anomalous", "anomaly_map"), _anomalies)
