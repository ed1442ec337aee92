"""Operations over time whose result in ONNX Runtime does not depend, to the last bit, on how far a row was padded."""

from __future__ import annotations

import torch

BLOCK = 64
EXTRA = 64
"""Steps that a convolution computes beside its own: below 65 ONNX Runtime's CPU kernel splits inner sums otherwise."""


def frame_mask(lengths: torch.Tensor, frames: torch.Tensor, axis: int) -> torch.Tensor:
    """Bool [n, t]: True for the first `lengths[i]` of the t steps that `frames` has on `axis`."""
    steps = torch.arange(frames.shape[axis], device=frames.device)
    return steps[None, :] < lengths[:, None]


def stable_sum(values: torch.Tensor) -> torch.Tensor:
    """Sum over the last axis of [n, c, t], where all behind a row's end is 0.

    ONNX Runtime splits a plain sum differently for every t, which moves the last bits. Here every block of 64 is summed
    alone and the blocks one after the other, so zeros at the end change nothing; and blocks lose less than a running
    sum over 100,000 samples would.
    """
    n, c, t = values.shape
    blocks = (t + BLOCK - 1) // BLOCK
    padded = torch.nn.functional.pad(values, (0, BLOCK - 1))[:, :, : blocks * BLOCK]
    return torch.cumsum(padded.reshape(n, c, blocks, BLOCK).sum(dim=-1), dim=-1)[:, :, -1]


def stable_conv(conv: torch.nn.Conv1d, values: torch.Tensor) -> torch.Tensor:
    """`conv` of [n, c, t], computed over `EXTRA` steps more than t has, which are cut off again."""
    padded = torch.nn.functional.pad(values, (0, EXTRA * conv.stride[0]))
    result: torch.Tensor = conv(padded)
    return result[:, :, :-EXTRA]


def masked_mean(frames: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean [n, d] of `frames` [n, t, d] where `mask` [n, t] is True; zeros for a row without any."""
    weights = mask.to(frames.dtype).unsqueeze(-1)
    total = torch.cumsum(frames * weights, dim=1)[:, -1]
    return total / weights.sum(dim=1).clamp(min=1.0)
