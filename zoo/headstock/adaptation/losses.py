"""What draws source and target together: losses and weights as pure functions of tensors."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

Floats = npt.NDArray[np.float32]

_BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
_LARGEST_RATIO = 20.0
_CONFUSED = 16
"""Fewest rows over which confusion is counted: of 8, 16, 32 and 64 the best on digits turned by other angles than those
of `benchmarks/adaptation.py`, on moved digits and on moved docstrings."""


def coral_loss(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Distance of the covariances of features [n, d] and [m, d], over 4 d^2 (Sun and Saenko 2016, eq. 1).

    0 where either is a single row, which has no covariance.
    """
    if min(len(source), len(target)) < 2:
        return torch.zeros(())
    gap = torch.cov(source.T) - torch.cov(target.T)
    return gap.square().sum() / (4 * source.shape[1] ** 2)


def coral_alignment(source: Floats, target: Floats, ridge: float = 1.0, rows: Floats | None = None) -> Floats:
    """Source features [n, d] with mean and covariance of the target's [m, d] (Sun et al. 2016, CORAL, algorithm 1).

    With `rows` [k, d], these source rows moved in the same way. Whitens with the source's covariance plus `ridge` times
    the identity and colours with the target's. The paper takes standardised features of equal mean; here the mean is
    moved too.
    """
    size = source.shape[1]
    own = np.cov(source, rowvar=False).reshape(size, size) + ridge * np.eye(size)
    other = np.cov(target, rowvar=False).reshape(size, size) + ridge * np.eye(size)
    picked = source if rows is None else rows
    moved = (picked - source.mean(axis=0)) @ _power(own, -0.5) @ _power(other, 0.5) + target.mean(axis=0)
    return np.asarray(moved, np.float32)


def mcc_loss(logits: torch.Tensor, temperature: float = 2.5) -> torch.Tensor:
    """Minimum class confusion of target logits [m, classes] (Jin et al. 2020, eq. 2 to 6); 0: none is.

    Rows are weighted by certainty, and correlations of classes are normalised per class.
    """
    shares = torch.softmax(logits / temperature, dim=1)
    entropy = -(shares * shares.clamp(min=1e-8).log()).sum(dim=1)
    certain = 1 + torch.exp(-entropy.detach())
    certain = certain * len(logits) / certain.sum()
    confusion = (shares * certain[:, None]).T @ shares
    confusion = confusion / confusion.sum(dim=1, keepdim=True).clamp(min=1e-8)
    return (confusion.sum() - confusion.trace()) / logits.shape[1]


def grouped_mcc_loss(logits: torch.Tensor) -> torch.Tensor:
    """Mean of `mcc_loss` over groups of the rows of `logits` [m, classes], in each about a row per class, but 16 rows.

    The paper counts confusion over batches of 36 rows of 31 to 65 classes. Counted over many rows of a few classes, one
    class may take another one's rows in whole, and from there no single row leads back.
    """
    size = max(_CONFUSED, logits.shape[1])
    return torch.stack([mcc_loss(group) for group in logits.chunk(max(1, len(logits) // size))]).mean()


def mmd_loss(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Squared maximum mean discrepancy of features [n, d] and [m, d] (Long et al. 2015, DAN): the biased estimate.

    The kernel is the mean of five Gaussians around the mean squared distance.
    """
    joined = torch.cat([source, target])
    distances = torch.cdist(joined, joined).square()
    scale = (distances.detach().sum() / (len(joined) * (len(joined) - 1))).clamp(min=1e-8)
    kernel = torch.stack([torch.exp(-distances / (scale * width)) for width in _BANDWIDTHS]).mean(dim=0)
    size = len(source)
    return kernel[:size, :size].mean() + kernel[size:, size:].mean() - 2 * kernel[:size, size:].mean()


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, features: torch.Tensor, strength: float) -> torch.Tensor:
        ctx.strength = strength  # type: ignore[attr-defined]
        return features.view_as(features)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -ctx.strength * gradients[0], None  # type: ignore[attr-defined]


def reverse_gradient(features: torch.Tensor, strength: float) -> torch.Tensor:
    """The features themselves; their gradient comes back times `-strength` (Ganin et al. 2016, eq. 14 and 15)."""
    result: torch.Tensor = _Reversal.apply(features, strength)  # type: ignore[no-untyped-call]
    return result


def reversal_strength(progress: float) -> float:
    """Strength at `progress` from 0 to 1 of the training: rises from 0 to 1 (Ganin et al. 2016, section 5.2.2)."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


def dann_loss(critic: torch.nn.Module, source: torch.Tensor, target: torch.Tensor, strength: float) -> torch.Tensor:
    """How well `critic`, one logit per row, tells the domains apart; features are pushed to make it fail.

    Mean binary cross-entropy (Ganin et al. 2016, eq. 9).
    """
    logits = critic(reverse_gradient(torch.cat([source, target]), strength)).squeeze(1)
    domain = torch.cat([torch.zeros(len(source)), torch.ones(len(target))])
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, domain)


def importance_weights(source: Floats, target: Floats) -> Floats:
    """Density ratio target over source at the source rows, [n] with mean 1 (Sugiyama et al. 2012, section 4.2).

    The odds of a logistic regression between the domains; ratios are cut at 20, as a few rows would decide everything.
    """
    from sklearn.linear_model import LogisticRegression

    rows = np.concatenate([source, target])
    domain = np.repeat([0, 1], [len(source), len(target)])
    log_odds = LogisticRegression(C=0.1, max_iter=500).fit(rows, domain).decision_function(source)
    ratio = np.exp(np.clip(log_odds, -30, 30)) * len(source) / len(target)
    ratio = np.minimum(ratio, _LARGEST_RATIO)
    return np.asarray(ratio / max(float(ratio.mean()), 1e-12), np.float32)


def _power(matrix: npt.NDArray[np.float64], exponent: float) -> npt.NDArray[np.float64]:
    values, vectors = np.linalg.eigh(matrix)
    result: npt.NDArray[np.float64] = (vectors * np.maximum(values, 1e-12) ** exponent) @ vectors.T
    return result
