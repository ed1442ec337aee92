"""The head with the hinge loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from headstock.heads import ClassificationHead
from headstock.hookspecs import Batch

if TYPE_CHECKING:
    import torch


class HingeHead(ClassificationHead):
    """A linear classifier with a margin (Crammer and Singer, 2001), squared."""

    name: ClassVar[str] = "acme-hinge"
    modality: ClassVar[str] = "text"
    tap: ClassVar[str] = "mean"

    def loss(self, head: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Mean squared margin violation."""
        import torch

        return torch.nn.functional.multi_margin_loss(head(batch.features), batch.targets, p=2)
