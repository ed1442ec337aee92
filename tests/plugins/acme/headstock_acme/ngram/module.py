"""The network: character ids in, features of hashed trigrams out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

# Odd and far apart, so that trigrams of a small alphabet fall into different buckets.
_FACTORS = (1, 8_191, 67_867_967)


class NgramEncoder(torch.nn.Module):
    """One vector per bucket of character trigrams, and a dense layer on their mean."""

    def __init__(self, architecture: Mapping[str, Any]) -> None:
        super().__init__()
        self.buckets: int = architecture["buckets"]
        self.width: int = architecture["hidden_size"]
        self.trigrams = torch.nn.Embedding(self.buckets, self.width)
        self.dense = torch.nn.Linear(self.width, self.width)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """Taps of INT64 [n, len] inputs: `tokens` [n, len, d] (of the trigram that ends there), `mean` [n, d]."""
        # A trigram looks back only, so what stands behind a text's end is in none of its own.
        before = torch.nn.functional.pad(input_ids, (2, 0))
        last, middle, first = _FACTORS
        mixed = last * before[:, 2:] + middle * before[:, 1:-1] + first * before[:, :-2]
        tokens = self.trigrams(torch.remainder(mixed, self.buckets))
        own = attention_mask.to(tokens.dtype).unsqueeze(-1)
        # A running sum: padding then changes no bit of a row's features.
        mean = torch.cumsum(tokens * own, dim=1)[:, -1] / own.sum(dim=1).clamp(min=1.0)
        return {"tokens": tokens, "mean": torch.tanh(self.dense(mean))}
