"""What every postprocessing kind can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from headstock.records import Reads, TensorSpec

Floats = npt.NDArray[np.float32]
Array = npt.NDArray[Any]
Raw: TypeAlias = "Floats | Sequence[Floats]"
"""Raw outputs: [n, ...], or one array [positions, out] per row where rows differ in length."""
Contexts: TypeAlias = "Sequence[Mapping[str, Any] | None] | None"
"""What the preprocessor said of each row: `headstock.preprocess.Row.extra`."""
Wanted: TypeAlias = Collection[str]
"""Names of the outputs that somebody asked for; empty for all of them."""


class Kind(ABC):
    """One kind of postprocessing. Stateless; a spec is a JSON object that names it."""

    name: ClassVar[str]
    per_position: ClassVar[bool] = False
    """True if raw outputs come as one array [positions, out] per row."""
    reads: ClassVar[Reads] = "any"
    """What the raw input must be; `text` and `pair` make `apply` need contexts."""

    @abstractmethod
    def outputs(self, spec: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
        """The tensors that a model with this spec answers, in order."""

    @abstractmethod
    def apply(self, spec: Mapping[str, Any], raw: Any, contexts: Contexts, wanted: Wanted = ()) -> dict[str, Array]:
        """Answers for raw outputs by name, those of `wanted` at least; BYTES tensors are object arrays of `bytes`."""


def asks(wanted: Wanted, *names: str) -> bool:
    """True if any of these outputs is wanted."""
    return not wanted or any(name in wanted for name in names)


def softmax(logits: Floats) -> Floats:
    """Softmax over the last axis, shifted by its maximum."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    weights = np.exp(shifted)
    shares: Floats = (weights / weights.sum(axis=-1, keepdims=True)).astype(np.float32, copy=False)
    return shares


def sigmoid(logits: Floats) -> Floats:
    """Element-wise logistic function, without overflow at either end."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32, copy=False)


def padded(rows: Sequence[Floats]) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Rows [positions, out] as [n, most positions, out] with zeros behind each row's end, and their lengths [n]."""
    lengths = np.array([len(row) for row in rows], np.int64)
    block = np.zeros((len(rows), int(lengths.max(initial=0)), rows[0].shape[1] if rows else 0), np.float32)
    for slot, row in zip(block, rows, strict=True):
        slot[: len(row)] = row
    return block, lengths


def known(contexts: Contexts) -> list[Mapping[str, Any]]:
    """Contexts, all of them there: whoever calls `apply` looked at `reads` before."""
    found = [context for context in contexts or () if context is not None]
    if contexts is None or len(found) != len(contexts):
        raise TypeError("this is a bug: this kind of postprocessing needs the context of every row")
    return found


def texts(values: Sequence[str]) -> Array:
    """A BYTES tensor [n] in UTF-8."""
    found = np.empty(len(values), dtype=object)
    found[:] = [value.encode() for value in values]
    return found
