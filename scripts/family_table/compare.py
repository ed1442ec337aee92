"""How far answers are apart: from torch's, from the same sample's alone, from another client's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Answers = Mapping[str, Array]
"""Output tensors by name, first axis the sample."""

DIFFERENT = float("inf")
"""The distance of what should be equal and is no number."""


def distance(found: Answers, expected: Answers) -> float:
    """Largest difference of numbers, relative to the largest one of an output where that is above 1.

    Texts are left out: they follow from the numbers, and a hair's breadth may tip them.
    """
    return max(
        _relative(found[name], value) if found[name].shape == value.shape else DIFFERENT
        for name, value in expected.items()
        if value.dtype.kind == "f"
    )


def company(together: Answers, alone: Sequence[Answers]) -> float:
    """Largest difference of each sample's own part of an answer from the sample's answer alone; 0 means equal bits."""
    return max(
        _difference(together[name][index : index + 1], value)
        for index, answers in enumerate(alone)
        for name, value in answers.items()
    )


def equality(one: Answers, other: Answers) -> float:
    """0 if all outputs have the same names, types, shapes and bits."""
    same = list(one) == list(other) and all(
        one[name].dtype == value.dtype and one[name].shape == value.shape and _same_bits(one[name], value)
        for name, value in other.items()
    )
    return 0.0 if same else DIFFERENT


def _relative(one: Array, other: Array) -> float:
    scale = max(1.0, float(np.abs(other).max(initial=0.0)))
    return float(np.abs(one - other).max(initial=0.0)) / scale


def _difference(together: Array, alone: Array) -> float:
    # An answer about single positions is padded to the longest row of its request.
    own = together[tuple(slice(0, size) for size in alone.shape)]
    if own.shape == alone.shape and _same_bits(own, alone):
        return 0.0
    return float(np.abs(own - alone).max()) if own.shape == alone.shape and alone.dtype.kind == "f" else DIFFERENT


def _same_bits(one: Array, other: Array) -> bool:
    if one.dtype == object:
        return bool(one.tolist() == other.tolist())
    return one.tobytes() == other.tobytes()
