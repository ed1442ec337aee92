"""Extractive question answering: the stretch of a text that answers a question about it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from headstock.errors import InvalidInput
from headstock.heads.positions import PositionHead, objects
from headstock.hookspecs import Batch, Metric, Targets
from headstock.records import Reads

if TYPE_CHECKING:
    import numpy as np
    import torch

IGNORED = -100
"""Target of a row whose answer was cut off."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One row's targets."""

    answers: tuple[tuple[str, int | None], ...]
    """Each right answer with its first character in the context, None where the data does not say; empty for none."""
    tokens: tuple[int, int] = (0, 0)
    """First and last token of the first answer; position 0 for none, `IGNORED` if it was cut off."""
    context: Mapping[str, Any] | None = None
    """The row's `extra`, which turns outputs into text."""


class QuestionAnsweringHead(PositionHead):
    """Two linear probes on the tokens of the context: where the answer begins, where it ends."""

    task: ClassVar[str] = "question-answering"
    columns: ClassVar[tuple[str, ...]] = ("answer",)
    optional: ClassVar[tuple[str, ...]] = ("answer",)
    reads: ClassVar[Reads] = "pair"
    primary_metric: ClassVar[str] = "answer_f1"

    def default_options(self) -> Mapping[str, Any]:
        """`most_tokens` of an answer."""
        return {"most_tokens": 30}

    def encode(self, columns: Mapping[str, Sequence[Any]], labels: Sequence[str] | None = None) -> Targets:
        """Answers of each row: a text, or SQuAD's `{"text": [...], "answer_start": [...]}`; empty for no answer."""
        rows = [Answered(_answers(cell, row)) for row, cell in enumerate(columns["answer"], 1)]
        if not any(row.answers for row in rows):
            raise InvalidInput(f"none of the {len(rows)} rows has an answer", fix="check --column answer=NAME")
        return Targets(objects(rows))

    def align(self, targets: Targets, contexts: Sequence[Mapping[str, Any] | None]) -> Targets:
        """The tokens of each row's answer."""
        rows = [
            _located(answered, context, row)
            for row, (answered, context) in enumerate(zip(targets.values, contexts, strict=True), 1)
            if context is not None
        ]
        return Targets(objects(rows), targets.labels, targets.extra)

    def outputs_per_position(self, targets: Targets) -> int:
        """A logit to begin there and one to end there."""
        return 2

    def build(self, width: int, targets: Targets, options: Mapping[str, Any]) -> torch.nn.Module:
        """Both maps in one. Raises `InvalidInput` for an option out of range."""
        _most_tokens(options)
        return super().build(width, targets, options)

    def collate(self, features: Sequence[np.ndarray], targets: Targets) -> Batch:
        """As of any positions, but the mask holds only where an answer may stand: the context, and position 0."""
        import torch

        batch = super().collate(features, targets)
        mask = torch.zeros(batch.features.shape[:2], dtype=torch.bool)
        for slot, row in zip(mask, targets.values, strict=True):
            slot[: len(row.context["words"])] = torch.from_numpy(row.context["words"] >= 0)
        mask[:, 0] = True
        return Batch(batch.features, batch.targets, mask)

    def padded_targets(self, targets: Targets, positions: int) -> torch.Tensor:
        """First and last token INT64 [n, 2]."""
        import torch

        return torch.tensor([row.tokens for row in targets.values], dtype=torch.int64)

    def loss(self, head: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Mean cross-entropy of beginning and end over where an answer may stand, in nats."""
        import torch

        if batch.mask is None:
            raise TypeError("this is a bug: a batch of contexts has no mask")
        logits = head(batch.features).masked_fill(~batch.mask[:, :, None], -torch.inf)
        total = torch.nn.functional.cross_entropy(logits, batch.targets, ignore_index=IGNORED, reduction="sum")
        return total / (batch.targets != IGNORED).sum().clamp(min=1)

    def metrics(self, outputs: Sequence[np.ndarray], targets: Targets, seed: int) -> Sequence[Metric]:
        """SQuAD's F1 (bootstrap) and exact match (Wilson)."""
        from headstock import metrics
        from headstock.postprocess.answer import best

        most = self.default_options()["most_tokens"]
        found = [best(row, t.context, most).text for row, t in zip(outputs, targets.values, strict=True)]
        return metrics.answers(found, [[text for text, _ in t.answers] for t in targets.values], seed)

    def postprocess(self, targets: Targets, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer, and the logits of every token."""
        return {"kind": "answer", "most_tokens": _most_tokens(options)}


def _most_tokens(options: Mapping[str, Any]) -> int:
    most = options.get("most_tokens", 30)
    if type(most) is not int or not 1 <= most <= 10_000:
        raise InvalidInput(f"option most_tokens is {most!r}; expected a whole number from 1 to 10000")
    return most


def _answers(cell: Any, row: int) -> tuple[tuple[str, int | None], ...]:
    if isinstance(cell, str) and cell.lstrip().startswith("{"):
        try:
            cell = json.loads(cell)
        except ValueError as error:
            raise InvalidInput(f"the answer of row {row} is no JSON object: {error}") from error
    if isinstance(cell, dict):
        texts, starts = cell.get("text"), cell.get("answer_start")
        texts = [texts] if isinstance(texts, str) else texts
        starts = [starts] if isinstance(starts, int) else starts
        if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
            raise InvalidInput(
                f'the answer of row {row} is {cell!r:.80}; expected {{"text": ["..."], "answer_start": [0]}}'
            )
        return tuple((str(text), int(start)) for text, start in zip(texts, starts, strict=True) if str(text).strip())
    text = "" if cell is None else str(cell).strip()
    return ((text, None),) if text else ()


def _located(answered: Answered, context: Mapping[str, Any], row: int) -> Answered:
    import numpy as np

    if not answered.answers:
        return Answered((), (0, 0), context)
    text, start = answered.answers[0]
    whole: str = context["text"]
    start = whole.find(text) if start is None else start
    if start < 0 or whole[start : start + len(text)] != text:
        raise InvalidInput(
            f"the answer of row {row}, {text[:60]!r}, does not stand in its context where the data says",
            fix="answers are stretches of the context, letter by letter; leave the cell empty where there is none",
        )
    inside = np.flatnonzero(context["words"] >= 0)
    offsets = context["offsets"][inside]
    covered = np.flatnonzero((offsets[:, 1] > start) & (offsets[:, 0] < start + len(text)))
    if not len(covered) or offsets[covered[-1], 1] < start + len(text):
        return Answered(answered.answers, (IGNORED, IGNORED), context)
    return Answered(answered.answers, (int(inside[covered[0]]), int(inside[covered[-1]])), context)
