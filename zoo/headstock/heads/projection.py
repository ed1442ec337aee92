"""The projection of the embedding head, and its contrastive loss."""

from __future__ import annotations

import torch

from headstock.heads.linear import check_features, form_of
from headstock.hookspecs import LinearForm


class Projection(torch.nn.Module):
    """A linear map that starts as the identity; [n, width] FP32 in, [n, out] FP32 out."""

    def __init__(self, width: int, out: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.linear = torch.nn.Linear(width, out)
        torch.nn.init.eye_(self.linear.weight)
        torch.nn.init.zeros_(self.linear.bias)

    def start_from(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Be the map `weight` [width, out] and `bias` [out]."""
        with torch.no_grad():
            self.linear.weight.copy_(weight.T)
            self.linear.bias.copy_(bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Vectors [n, out], not normalised: that is postprocessing."""
        check_features(features, self.linear.in_features)
        outputs: torch.Tensor = self.linear(features)
        return outputs


def supervised_contrastive(vectors: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mean over rows of the negative log-probability of picking a row of the same label out of the batch.

    `vectors` [n, d], `labels` INT64 [n]. Rows without a partner in the batch only repel; a batch without any pair
    has loss 0 and gradient 0. (Khosla et al. 2020, the variant with the sum outside the logarithm.)
    """
    unit = torch.nn.functional.normalize(vectors, dim=1)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    scores = (unit @ unit.T / temperature).masked_fill(itself, -torch.inf)
    log_share = (scores - scores.logsumexp(dim=1, keepdim=True)).masked_fill(itself, 0.0)
    partner = (labels[:, None] == labels[None, :]) & ~itself
    partners = partner.sum(dim=1)
    per_row = (log_share * partner).sum(dim=1) / partners.clamp(min=1)
    return -per_row.sum() / (partners > 0).sum().clamp(min=1)


def linear_form(head: torch.nn.Module) -> LinearForm:
    """`row @ weight + bias` equal to a `Projection`."""
    if not isinstance(head, Projection):
        raise TypeError(f"this is a bug: {type(head).__name__} is not a Projection")
    return form_of(head.linear.weight.T, head.linear.bias)
