"""Token classification: names, places and other stretches of a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from headstock.errors import InvalidInput
from headstock.heads.marks import Mark, read_marks, spans_in
from headstock.heads.positions import PositionHead, objects
from headstock.hookspecs import Batch, Metric, Targets
from headstock.records import Reads

if TYPE_CHECKING:
    import numpy as np
    import torch

IGNORED = -100
"""Target of positions that teach nothing: special tokens, and all tokens of a word but its first."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """One row's targets."""

    classes: np.ndarray
    """INT64 [tokens]; `IGNORED` where a token is not the first of a word."""
    spans: tuple[Mark, ...]
    """All that is marked, also where the text was cut."""
    context: Mapping[str, Any]
    """The row's `extra`, which turns outputs into spans."""


class TokenClassificationHead(PositionHead):
    """A linear probe on the first token of each word, with classes `O`, `B-TYPE` and `I-TYPE`."""

    task: ClassVar[str] = "token-classification"
    columns: ClassVar[tuple[str, ...]] = ("spans",)
    optional: ClassVar[tuple[str, ...]] = ("spans",)
    reads: ClassVar[Reads] = "text"
    primary_metric: ClassVar[str] = "entity_f1"

    def encode(self, columns: Mapping[str, Sequence[Any]], labels: Sequence[str] | None = None) -> Targets:
        """Marks of each row, see `headstock.heads.marks.read_marks`; types in sorted order."""
        marks = [read_marks(cell, row) for row, cell in enumerate(columns["spans"], 1)]
        found = sorted(set().union(*(mark.labels for mark in marks)))
        if not found:
            raise InvalidInput(
                f"none of the {len(marks)} rows marks a span; token classification needs some to learn from",
                fix="check --column spans=NAME",
            )
        known = list(labels) if labels is not None else ["O", *(f"{b}-{name}" for name in found for b in "BI")]
        if strange := [name for name in found if f"B-{name}" not in known]:
            raise InvalidInput(f"type {strange[0]!r} is not one of {sorted({k[2:] for k in known if k != 'O'})}")
        return Targets(objects(marks), tuple(known))

    def align(self, targets: Targets, contexts: Sequence[Mapping[str, Any] | None]) -> Targets:
        """The class of each row's tokens."""
        index = {label: i for i, label in enumerate(targets.labels)}
        rows = [
            _tagged(spans_in(marks, context["text"], row), context, index)
            for row, (marks, context) in enumerate(zip(targets.values, contexts, strict=True), 1)
            if context is not None
        ]
        return Targets(objects(rows), targets.labels, targets.extra)

    def outputs_per_position(self, targets: Targets) -> int:
        """One logit per class."""
        return len(targets.labels)

    def padded_targets(self, targets: Targets, positions: int) -> torch.Tensor:
        """Classes INT64 [n, positions], `IGNORED` behind a row's end."""
        import torch

        block = torch.full((len(targets.values), positions), IGNORED, dtype=torch.int64)
        for slot, row in zip(block, targets.values, strict=True):
            slot[: len(row.classes)] = torch.from_numpy(row.classes)
        return block

    def loss(self, head: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Mean cross-entropy over the words of the batch, in nats."""
        import torch

        logits, classes = head(batch.features).flatten(0, 1), batch.targets.flatten()
        total = torch.nn.functional.cross_entropy(logits, classes, ignore_index=IGNORED, reduction="sum")
        return total / (classes != IGNORED).sum().clamp(min=1)

    def metrics(self, outputs: Sequence[np.ndarray], targets: Targets, seed: int) -> Sequence[Metric]:
        """F1, precision and recall of exact spans, then the share of words whose class is right; all bootstrapped."""
        import numpy as np

        from headstock import metrics
        from headstock.postprocess.entities import spans, trimmed

        found, true, right, words = [], [], [], []
        for logits, row in zip(outputs, targets.values, strict=True):
            text = row.context["text"]
            found.append([(s.start, s.end, s.label) for s in spans(logits, row.context, targets.labels)])
            true.append([(*trimmed(text, m.start, m.end), m.label) for m in row.spans])
            judged = row.classes != IGNORED
            words.append(int(judged.sum()))
            right.append(int((logits.argmax(axis=1) == row.classes)[judged].sum()))
        return (
            *metrics.spans(found, true, seed),
            metrics.ratio("word_accuracy", np.array(right), np.array(words), seed),
        )

    def postprocess(self, targets: Targets, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Spans of characters, and the logits of every token."""
        return {"kind": "token-classification", "labels": list(targets.labels)}


def _tagged(spans: tuple[Mark, ...], context: Mapping[str, Any], index: Mapping[str, int]) -> Tagged:
    import numpy as np

    from headstock.postprocess.entities import words

    classes = np.full(len(context["words"]), IGNORED, np.int64)
    before: Mark | None = None
    for token, start, end in words(context):
        span = next((s for s in spans if s.start < end and start < s.end), None)
        tag = "O" if span is None else f"{'I' if span is before else 'B'}-{span.label}"
        classes[token], before = index[tag], span
    return Tagged(classes, spans, context)
