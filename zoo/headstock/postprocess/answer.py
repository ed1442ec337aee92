"""Extractive question answering: from a start and an end logit per token to a stretch of the context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstock.postprocess.entities import trimmed
from headstock.postprocess.kind import Array, Contexts, Floats, Kind, Wanted, asks, known, padded, softmax, texts
from headstock.records import TensorSpec


@dataclass(frozen=True, slots=True)
class Found:
    """A stretch of a context, or nothing."""

    text: str
    start: int
    """First character; -1 for nothing."""
    end: int
    """One behind the last character; -1 for nothing."""
    score: float
    """Probability of its first token times that of its last."""


class Answer(Kind):
    """`{"most_tokens": 30}` answers

    - `answer` BYTES [n]: the stretch of the context, empty where the context does not answer the question;
    - `start` and `end` INT64 [n]: its characters in the context (code points, `end` one behind the last; -1 for none);
    - `score` FP32 [n]: from 0 to 1, also of an empty answer;
    - `logits` FP32 [n, most tokens, 2] for start and end, zeros behind a row's end; `lengths` INT64 [n].

    Position 0, which is never of the context, stands for "no answer".
    """

    name = "answer"
    per_position = True
    reads = "pair"

    def outputs(self, spec: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
        """The answer, where it stands, how sure it is; logits and lengths."""
        return (
            TensorSpec("answer", "BYTES", (-1,)),
            TensorSpec("start", "INT64", (-1,)),
            TensorSpec("end", "INT64", (-1,)),
            TensorSpec("score", "FP32", (-1,)),
            TensorSpec("logits", "FP32", (-1, -1, 2)),
            TensorSpec("lengths", "INT64", (-1,)),
        )

    def apply(
        self, spec: Mapping[str, Any], raw: Sequence[Floats], contexts: Contexts, wanted: Wanted = ()
    ) -> dict[str, Array]:
        """Raw outputs are the logits of each row's tokens."""
        logits, lengths = padded(raw)
        if not asks(wanted, "answer", "start", "end", "score"):
            return {"logits": logits, "lengths": lengths}
        found = [best(row, c, int(spec["most_tokens"])) for row, c in zip(raw, known(contexts), strict=True)]
        return {
            "answer": texts([f.text for f in found]),
            "start": np.array([f.start for f in found], np.int64),
            "end": np.array([f.end for f in found], np.int64),
            "score": np.array([f.score for f in found], np.float32),
            "logits": logits,
            "lengths": lengths,
        }


def best(logits: Floats, context: Mapping[str, Any], most: int) -> Found:
    """The likeliest stretch of at most `most` tokens of one row's logits [tokens, 2]."""
    inside = np.flatnonzero(context["words"] >= 0)
    places = np.concatenate([[0], inside])
    start, end = softmax(logits[places, 0]), softmax(logits[places, 1])
    nothing = float(start[0] * end[0])
    count = len(inside)
    if not count:
        return Found("", -1, -1, nothing)
    # Products of every start with the end so many tokens behind it, one row per distance.
    pairs = np.zeros((min(most, count), count), np.float32)
    for distance, row in enumerate(pairs):
        row[: count - distance] = start[1 : 1 + count - distance] * end[1 + distance :]
    distance, first = divmod(int(pairs.argmax()), count)
    last, score = first + distance, float(pairs[distance, first])
    if nothing >= score:
        return Found("", -1, -1, nothing)
    offsets, text = context["offsets"], context["text"]
    begin, behind = trimmed(text, int(offsets[inside[first], 0]), int(offsets[inside[last], 1]))
    return Found(text[begin:behind], begin, behind, score)
