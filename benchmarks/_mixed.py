"""Rows of mixed lengths, log-normal from 8 to 256 tokens, and requests for many models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import NormalDist

import numpy as np

from _common import ids_request

MEDIAN, SPREAD, SHORTEST, LONGEST = 37, 0.70, 8, 256
"""Tokens; the spread is of their logarithm. The mean is about 47, the 95th percentile 117."""


def mixed_lengths(count: int, seed: int = 0) -> list[int]:
    """`count` lengths at equal steps of the distribution, shuffled: every draw holds the same mix."""
    normal = NormalDist(np.log(MEDIAN), SPREAD)
    drawn = np.exp([normal.inv_cdf((i + 0.5) / count) for i in range(count)])
    lengths = np.clip(drawn.round(), SHORTEST, LONGEST).astype(int)
    return [int(n) for n in np.random.default_rng(seed).permutation(lengths)]


def ids_requests(models: Sequence[str] | Iterator[str], lengths: Sequence[int]) -> list[bytes]:
    """One request of each length, the models in turn."""
    names = models if isinstance(models, Iterator) else (models[i % len(models)] for i in range(len(lengths)))
    return [ids_request(next(names), length, seed) for seed, length in enumerate(lengths)]
