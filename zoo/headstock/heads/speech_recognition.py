"""Speech recognition: one label or a blank per frame, trained without knowing which frame says what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from headstock.errors import InvalidInput
from headstock.heads.positions import PositionHead, objects
from headstock.hookspecs import Batch, Metric, Targets

if TYPE_CHECKING:
    import numpy as np
    import torch

NOTHING = -1
"""Target behind a transcript's end."""


class SpeechRecognitionHead(PositionHead):
    """A linear probe on frames with connectionist temporal classification (Graves et al. 2006); the blank is last."""

    task: ClassVar[str] = "speech-recognition"
    columns: ClassVar[tuple[str, ...]] = ("transcript",)
    primary_metric: ClassVar[str] = "character_accuracy"

    def encode(self, columns: Mapping[str, Sequence[Any]], labels: Sequence[str] | None = None) -> Targets:
        """Indices of each transcript's characters; the alphabet is sorted, runs of spaces count as one space."""
        said = ["" if cell is None else " ".join(str(cell).split()) for cell in columns["transcript"]]
        if empty := [row for row, text in enumerate(said, 1) if not text]:
            shown = ", ".join(map(str, empty[:5]))
            raise InvalidInput(
                f"the transcript is empty in rows {shown}", fix="write what is said, or remove these rows"
            )
        alphabet = sorted(set("".join(said))) if labels is None else list(labels)
        if labels is None and len(set(said)) < 2:
            raise InvalidInput(f"all {len(said)} rows have the same transcript; speech recognition needs several")
        index = {character: i for i, character in enumerate(alphabet)}
        for row, text in enumerate(said, 1):
            if strange := [character for character in text if character not in index]:
                raise InvalidInput(f"row {row} says {strange[0]!r}, which is not in the alphabet {alphabet}")
        return Targets(objects([[index[character] for character in text] for text in said]), tuple(alphabet))

    def outputs_per_position(self, targets: Targets) -> int:
        """One logit per character, and the blank."""
        return len(targets.labels) + 1

    def padded_targets(self, targets: Targets, positions: int) -> torch.Tensor:
        """Character indices INT64 [n, longest transcript], `NOTHING` behind a transcript's end."""
        import torch

        longest = max(map(len, targets.values))
        return torch.tensor([[*row, *[NOTHING] * (longest - len(row))] for row in targets.values], dtype=torch.int64)

    def loss(self, head: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Negative log-likelihood per character, in nats; rows with too few frames for their transcript count 0."""
        import torch

        if batch.mask is None:
            raise TypeError("this is a bug: a batch of frames has no mask")
        log_probs = head(batch.features).log_softmax(dim=-1)
        lengths = (batch.targets != NOTHING).sum(dim=1)
        return torch.nn.functional.ctc_loss(
            log_probs.transpose(0, 1),
            batch.targets.clamp(min=0),
            batch.mask.sum(dim=1),
            lengths,
            blank=log_probs.shape[-1] - 1,
            zero_infinity=True,
        )

    def metrics(self, outputs: Sequence[np.ndarray], targets: Targets, seed: int) -> Sequence[Metric]:
        """1 minus the character error rate, word error rate, character error rate, of greedy decoding; bootstrapped."""
        from headstock import metrics
        from headstock.ctc import greedy, log_softmax

        heard = [greedy(log_softmax(row), targets.labels).text for row in outputs]
        said = ["".join(targets.labels[i] for i in row) for row in targets.values]
        return metrics.transcription(heard, said, seed)

    def postprocess(self, targets: Targets, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Text, and the logits of every frame."""
        return {"kind": "transcript", "alphabet": list(targets.labels)}
