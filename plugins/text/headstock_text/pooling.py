"""From token features to one vector per text."""

from __future__ import annotations

import torch


def masked_mean(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean [n, d] of `tokens` [n, len, d] where `mask` [n, len] is not 0; zeros for a row without any.

    A running sum instead of a sum: ONNX Runtime splits a sum differently for every padded length, which moves the
    last bits, while a running sum adds the tokens one by one and zeros after them change nothing.
    """
    weights = mask.to(tokens.dtype).unsqueeze(-1)
    total = torch.cumsum(tokens * weights, dim=1)[:, -1]
    return total / weights.sum(dim=1).clamp(min=1.0)


def last_token(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Features [n, d] of the last token of `tokens` [n, len, d] whose `mask` [n, len] is 1; the first if none is."""
    positions = torch.arange(mask.shape[1], device=mask.device)
    return token_at(tokens, (mask * positions).amax(dim=1))


def token_at(tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Features [n, d] of `tokens` [n, len, d] at one position per row, INT64 [n]."""
    return tokens[torch.arange(tokens.shape[0], device=tokens.device), positions]
