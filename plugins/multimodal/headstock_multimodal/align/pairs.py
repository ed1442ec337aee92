"""What is learned from pairs: two projections and a temperature, by which each half finds the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from headstock.errors import Unsupported
from headstock.hookspecs import Batch, HeadType, LinearForm, Metric, Targets
from headstock.metrics import wilson

Bools = npt.NDArray[np.bool_]

_MOST = 4.6052
"""Logarithm of the highest scale, 100, as CLIP was trained with."""


@dataclass(frozen=True, slots=True)
class Projections:
    """Both projections [space, width] and the logarithm of the scale, FP32, as a checkpoint has them."""

    image: torch.Tensor
    text: torch.Tensor
    logit_scale: float


class Pairing(torch.nn.Module):
    """Pooled features of both towers side by side [n, image + text] to their places in the space [n, 2 * space]."""

    def __init__(self, start: Projections) -> None:
        """Begins where the towers are."""
        super().__init__()
        self.image = torch.nn.Parameter(start.image.clone())
        self.text = torch.nn.Parameter(start.text.clone())
        self.logit_scale = torch.nn.Parameter(torch.tensor(start.logit_scale))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Both of length 1."""
        width = self.image.shape[1]
        normalised = torch.nn.functional.normalize
        image = normalised(features[:, :width] @ self.image.T, dim=-1)
        text = normalised(features[:, width:] @ self.text.T, dim=-1)
        return torch.cat([image, text], dim=1)

    def projections(self) -> Projections:
        """What was learned."""
        scale = float(self.logit_scale.detach().clamp(max=_MOST))
        return Projections(self.image.detach().clone(), self.text.detach().clone(), scale)


class PairTask(HeadType):
    """Symmetric InfoNCE with a learned temperature (Radford et al. 2021), where the loop expects a head type.

    Targets are two numbers per pair, of its image and its text: pairs that share one of them are no negatives of each
    other, which a table with several captions per image, or one caption for several, would otherwise make them.
    """

    name: ClassVar[str] = "align"
    task: ClassVar[str] = "retrieval"
    modality: ClassVar[str] = "image"
    tap: ClassVar[str] = "pooled"
    columns: ClassVar[tuple[str, ...]] = ()
    primary_metric: ClassVar[str] = "recall_at_1"

    def __init__(self, start: Projections) -> None:
        """`start` is what the towers have."""
        self._start = start

    def encode(self, columns: Mapping[str, Sequence[Any]], labels: Sequence[str] | None = None) -> Targets:
        """Equal images, and equal texts, by one number each; `columns` are `image` and `text`, digests."""
        numbers = [np.unique(np.array(columns[role]), return_inverse=True)[1] for role in ("image", "text")]
        return Targets(np.stack(numbers, axis=1).astype(np.int64))

    def build(self, width: int, targets: Targets, options: Mapping[str, Any]) -> torch.nn.Module:
        """Both projections as they are."""
        return Pairing(self._start)

    def loss(self, head: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Mean over both ways of finding the other half among those of the batch."""
        if not isinstance(head, Pairing):
            raise TypeError(f"this is a bug: {type(head).__name__} is not a Pairing")
        image, text = head(batch.features).chunk(2, dim=1)
        likeness = head.logit_scale.clamp(max=_MOST).exp() * image @ text.T
        own = torch.eye(len(likeness), dtype=torch.bool)
        same = (batch.targets[:, None] == batch.targets[None]).any(dim=-1) & ~own
        likeness = likeness.masked_fill(same, float("-inf"))
        truth = torch.arange(len(likeness))
        functional = torch.nn.functional
        return (functional.cross_entropy(likeness, truth) + functional.cross_entropy(likeness.T, truth)) / 2

    def metrics(self, outputs: Any, targets: Targets, seed: int) -> Sequence[Metric]:
        """`recall_at_1` over both ways."""
        hits = np.concatenate([found_within(outputs, targets, 1, way) for way in (False, True)])
        return [wilson(self.primary_metric, int(hits.sum()), len(hits))]

    def linear_form(self, head: torch.nn.Module) -> LinearForm | None:
        """None: what is learned becomes a part of the towers."""
        return None

    def postprocess(self, targets: Targets, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Raises `Unsupported`: the towers are served, not this."""
        raise Unsupported("an alignment makes two backbones; nothing of it is served by itself")


def found_within(outputs: npt.NDArray[np.float32], targets: Targets, k: int, reverse: bool) -> Bools:
    """Per pair, whether one of the `k` nearest texts of its image is its own, or one with the same number.

    `outputs` are those of `Pairing` [n, 2 * space]; `reverse` looks for images of texts. Ties count against us.
    """
    image, text = np.split(outputs.astype(np.float64), 2, axis=1)
    one, other = (text, image) if reverse else (image, text)
    hits = np.zeros(len(one), bool)
    numbers = targets.values
    for start in range(0, len(one), 512):
        block = slice(start, start + 512)
        likeness = one[block] @ other.T
        same = (numbers[block][:, None] == numbers[None]).any(axis=-1)
        best = np.where(same, likeness, -np.inf).max(axis=1, keepdims=True)
        hits[block] = (~same & ~(likeness < best)).sum(axis=1) < k
    return hits
