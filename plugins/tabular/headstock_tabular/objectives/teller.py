"""The head that tells masked cells: one linear map for all numbers and categories."""

from __future__ import annotations

from collections.abc import Sequence

import torch

_Judged = tuple[torch.Tensor, torch.Tensor]


class Teller(torch.nn.Module):
    """A summary [n, width] to a guess for every feature, and logits for every category of every column."""

    def __init__(self, width: int, numeric: int, cardinalities: Sequence[int]) -> None:
        """`numeric` features, and one categorical column per cardinality."""
        super().__init__()
        self._numeric, self._cardinalities = numeric, list(cardinalities)
        self.linear = torch.nn.Linear(width, numeric + sum(cardinalities))

    def forward(self, summary: torch.Tensor) -> torch.Tensor:
        """[n, features + categories]."""
        told: torch.Tensor = self.linear(summary)
        return told

    def judged(self, summary: torch.Tensor, truth: torch.Tensor) -> _Judged:
        """Losses and hits of every cell, both [n, features + columns], of `truth` in that shape.

        Numbers: the smooth L1 loss, and one less the squared error; categories: cross-entropy, and whether the
        likeliest is right.
        """
        told, numbers = self(summary), self._numeric
        guess, known = told[:, :numbers], truth[:, :numbers]
        losses = [torch.nn.functional.smooth_l1_loss(guess, known, reduction="none")]
        hits = [1 - (guess - known).square()]
        if self._cardinalities:
            logits = torch.split(told[:, numbers:], self._cardinalities, dim=1)
            for one, classes in zip(logits, truth[:, numbers:].long().unbind(dim=1), strict=True):
                losses.append(torch.nn.functional.cross_entropy(one, classes, reduction="none")[:, None])
                hits.append((one.argmax(dim=1) == classes).to(told.dtype)[:, None])
        return torch.cat(losses, dim=1), torch.cat(hits, dim=1)
