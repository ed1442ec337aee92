"""The head that guesses hidden words: a layer of its own, and the backbone's table to tell them apart."""

from __future__ import annotations

import torch


class Guesser(torch.nn.Module):
    """Features [k, width] to logits [k, tokens], by BERT's `cls.predictions` with the decoder tied to the embeddings.

    The checkpoint's own was left out when the backbone was pulled, so the layer begins as the identity: a guess then
    begins as the likeness of a feature and a word.
    """

    def __init__(self, width: int, table: torch.nn.Parameter) -> None:
        """`table` [tokens, d] is borrowed: it learns with the backbone, where its layer group is live."""
        super().__init__()
        tokens, inner = table.shape
        self.dense = torch.nn.Linear(width, inner)
        with torch.no_grad():
            torch.nn.init.eye_(self.dense.weight)
            torch.nn.init.zeros_(self.dense.bias)
        self.norm = torch.nn.LayerNorm(inner)
        self.bias = torch.nn.Parameter(torch.zeros(tokens))
        # In a list, so that it is no parameter of this module: the optimizer and the checkpoint have it already.
        self._table = [table]

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits [k, tokens]."""
        inner = self.norm(torch.nn.functional.gelu(self.dense(features)))
        return torch.nn.functional.linear(inner, self._table[0], self.bias)
