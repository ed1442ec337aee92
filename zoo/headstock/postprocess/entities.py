"""Token classification: from one logit per class and token to spans of characters."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from headstock.postprocess.kind import Array, Contexts, Floats, Kind, Wanted, asks, known, padded, softmax, texts
from headstock.records import TensorSpec

OUTSIDE = "O"
"""The class of tokens outside all spans; every other is `B-TYPE`, which begins a span, or `I-TYPE`, which goes on."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a text with a type."""

    label: str
    start: int
    """First character."""
    end: int
    """One behind the last character."""
    text: str
    score: float
    """Mean over the span's words of the probability of its type."""


class Entities(Kind):
    """`{"labels": ["O", "B-X", "I-X", ...]}` answers

    - `entities` BYTES [n]: a JSON list of `{"label", "start", "end", "text", "score"}`, in the order of the text, where
      `start` and `end` count characters of the text (Unicode code points, `end` one behind the last);
    - `logits` FP32 [n, most tokens, classes], zeros behind a row's end; `lengths` INT64 [n]: tokens of each row.

    A word has the class of its first token.
    """

    name = "token-classification"
    per_position = True
    reads = "text"

    def outputs(self, spec: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
        """Spans, logits, lengths."""
        labels = tuple(spec["labels"])
        return (
            TensorSpec("entities", "BYTES", (-1,)),
            TensorSpec("logits", "FP32", (-1, -1, len(labels)), labels),
            TensorSpec("lengths", "INT64", (-1,)),
        )

    def apply(
        self, spec: Mapping[str, Any], raw: Sequence[Floats], contexts: Contexts, wanted: Wanted = ()
    ) -> dict[str, Array]:
        """Raw outputs are the logits of each row's tokens."""
        logits, lengths = padded(raw)
        if not asks(wanted, "entities"):
            return {"logits": logits, "lengths": lengths}
        found = [
            json.dumps([asdict(span) for span in spans(row, context, spec["labels"])], ensure_ascii=False)
            for row, context in zip(raw, known(contexts), strict=True)
        ]
        return {"entities": texts(found), "logits": logits, "lengths": lengths}


def spans(logits: Floats, context: Mapping[str, Any], labels: Sequence[str]) -> list[Span]:
    """Spans of one row's logits [tokens, classes]; an `I` that follows nothing of its type begins a span."""
    types = [label.partition("-")[2] for label in labels]
    # Classes of one type stand for it together: column c holds the probability of class c's type.
    same = np.array([[one == other for other in types] for one in types], np.float32)
    of_type, chosen = (softmax(logits) @ same).tolist(), logits.argmax(axis=1).tolist()
    found: list[_Open] = []
    last: _Open | None = None
    for token, start, end in words(context):
        number = chosen[token]
        if not types[number]:
            last = None
            continue
        if last is None or last.label != types[number] or labels[number].startswith("B"):
            last = _Open(types[number], start)
            found.append(last)
        last.end = end
        last.scores.append(of_type[token][number])
    return [span.closed(context["text"]) for span in found]


@dataclass(slots=True)
class _Open:
    """A span that may still grow."""

    label: str
    start: int
    end: int = 0
    scores: list[float] = field(default_factory=list)

    def closed(self, text: str) -> Span:
        start, end = trimmed(text, self.start, self.end)
        return Span(self.label, start, end, text[start:end], round(sum(self.scores) / len(self.scores), 6))


def words(context: Mapping[str, Any]) -> Iterator[tuple[int, int, int]]:
    """Each word of the row's text: its first token, its first character and one behind its last."""
    number: npt.NDArray[np.int32] = context["words"]
    offsets: npt.NDArray[np.int32] = context["offsets"]
    inside = number >= 0
    firsts = np.flatnonzero(inside & (np.diff(number, prepend=-1) != 0))
    lasts = np.flatnonzero(inside & (np.diff(number, append=-1) != 0))
    starts, ends = offsets[firsts, 0].tolist(), offsets[lasts, 1].tolist()
    yield from zip(firsts.tolist(), starts, ends, strict=True)


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The same stretch without spaces at its ends: some tokenisers count the space before a word as its own."""
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end
