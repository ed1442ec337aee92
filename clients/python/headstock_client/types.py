"""What the client takes and gives back: plain frozen data and numpy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy.typing as npt

from headstock_client.provenance import Ruling

Array: TypeAlias = npt.NDArray[Any]
Input: TypeAlias = "Array | Sequence[str] | Sequence[bytes]"
"""A numeric tensor, or texts."""


@dataclass(frozen=True, slots=True)
class Classification:
    """The one label of a sample."""

    label: str
    """The most probable class."""
    probabilities: Mapping[str, float]
    """Every class, in the model's order; they sum to 1."""

    @property
    def score(self) -> float:
        """Probability of `label`."""
        return self.probabilities[self.label]


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Any number of labels of a sample."""

    labels: tuple[str, ...]
    """Those above the model's threshold, likeliest first."""
    probabilities: Mapping[str, float]
    """Every label, in the model's order, each by itself."""


@dataclass(frozen=True, slots=True)
class Entity:
    """A stretch of a text with a type."""

    label: str
    start: int
    """First character (code point)."""
    end: int
    """One behind the last character."""
    text: str
    score: float
    """From 0 to 1."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The stretch of a context that answers a question."""

    text: str
    """Empty where the context does not answer it."""
    start: int
    """First character of the context; -1 for no answer."""
    end: int
    """One behind the last; -1 for no answer."""
    score: float
    """From 0 to 1, also of no answer."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """What is said in a recording."""

    text: str
    confidence: float
    """From 0 to 1."""


@dataclass(frozen=True, slots=True)
class Anomaly:
    """How far a sample is from normal ones."""

    score: float
    """1 is the threshold that the model learned from normal samples."""
    anomalous: bool
    map: Array
    """FP32 [height, width]: the same for each place, from the upper left."""


@dataclass(frozen=True, slots=True)
class InferResult:
    """All outputs of one request."""

    outputs: Mapping[str, Array]
    """Arrays by name; numbers are read-only views, BYTES are object arrays of `bytes`."""
    model_name: str
    model_version: str
    """The version that answered, also when an alias was asked for."""
    id: str
    truncated_rows: int = 0
    """Rows that were longer than the model reads and were cut."""
    licence: Ruling | None = None
    """What the licences say of it; None unless it was asked for, and from a server that does not judge."""


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """A model's input or output."""

    name: str
    datatype: str
    """`FP32`, `INT64`, `BYTES`..."""
    shape: tuple[int, ...]
    """-1 where the size varies; axis 0 is the batch."""


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a model takes and answers."""

    name: str
    versions: tuple[str, ...]
    """Newest first."""
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


@dataclass(frozen=True, slots=True)
class ModelState:
    """One row of the server's index."""

    name: str
    version: str
    state: str
    """`READY`, `LOADING` or `UNAVAILABLE`."""
    reason: str
    """Why it is not ready."""


@dataclass(frozen=True, slots=True)
class BackboneStatistics:
    """What one backbone, or its graph with adapters, has done since the server started."""

    backbone: str
    """Digest."""
    device: str
    passes: int
    """Times the graph ran."""
    mixed_passes: int
    """Passes that held rows of more than one model."""
    rows: int
    rows_reused: int
    """Of `rows`, those answered by what the backbone had computed for an equal row of the pass."""
    requests: int
    tokens_real: int
    """Tokens that callers sent."""
    tokens_padded: int
    """Tokens that the graph computed, padding included."""
    queued_rows: int
    adapters: str
    """Digest of the graph that takes adapters, which has a lane of its own; empty for the plain backbone."""
    adapters_held: int
    """Adapters that loaded models have in that graph now."""
