"""Linear heads that are computed, not trained: the identity, and classes given by vectors of another tower."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from headstock.errors import InvalidInput
from headstock.hookspecs import LinearForm

Floats = npt.NDArray[np.float32]


def identity_form(width: int) -> LinearForm:
    """The tap's own vector [n, width]."""
    return LinearForm(np.eye(width, dtype=np.float32), np.zeros(width, np.float32))


def class_vectors(prompts: Floats, classes: int) -> Floats:
    """One vector of length 1 per class [classes, width]: the direction of the mean of its prompts' directions.

    `prompts` are [classes * templates, width], all prompts of the first class first. Raises `InvalidInput` if prompts
    of one class cancel out, so that they have no common direction.
    """
    directions = _unit(prompts.astype(np.float64).reshape(classes, -1, prompts.shape[-1]))
    means = directions.mean(axis=1)
    if (np.linalg.norm(means, axis=-1) < 1e-6).any():
        raise InvalidInput("the prompts of a class point in opposite directions, so the class has none of its own")
    found: Floats = _unit(means).astype(np.float32)
    return found


def cosine_form(vectors: Floats, logit_scale: float) -> LinearForm:
    """Logits `exp(logit_scale) * cosine` of vectors of length 1 with `vectors` [classes, width], also of length 1."""
    weight = math.exp(logit_scale) * vectors.astype(np.float64).T
    return LinearForm(np.ascontiguousarray(weight, np.float32), np.zeros(len(vectors), np.float32))


def _unit(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    directions: npt.NDArray[np.float64] = vectors / np.maximum(norms, 1e-12)
    return directions
