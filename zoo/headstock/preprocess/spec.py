"""The preprocessing spec and what every implementation of it can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy.typing as npt

from headstock.digest import Digest, digest_json
from headstock.errors import Unsupported
from headstock.records import TensorSpec

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class PreprocessSpec:
    """All that decides how raw input becomes tensors; its digest is part of the backbone's."""

    kind: str
    """Which implementation: `text`, `image`, `waveform`, `mfcc`, `table`."""
    options: Mapping[str, Any]
    """The implementation's settings, all of them, JSON values only."""
    files: Mapping[str, Digest]
    """Role to blob digest: `{"tokenizer": "sha256:..."}`."""

    def to_json(self) -> dict[str, Any]:
        """The object that the digest is taken of."""
        return {"kind": self.kind, "options": dict(self.options), "files": dict(self.files)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> PreprocessSpec:
        """Inverse of `to_json`."""
        return cls(value["kind"], value["options"], value["files"])

    @property
    def digest(self) -> Digest:
        """Digest of the canonical JSON."""
        return digest_json(self.to_json())


@dataclass(slots=True)
class Row:
    """One sample, ready for the graph but for padding."""

    tensors: dict[str, Array]
    """Graph input name to array without the batch axis."""
    length: int
    """Cost in the unit that the hardware feels: tokens, pixels / 256, frames. At least 1."""
    truncated: bool = False
    """True if the declared maximum cut the sample."""
    extra: Mapping[str, Any] | None = None
    """What postprocessing needs to know of this row, where it was asked for; see `TextReader`."""

    @property
    def steps(self) -> int:
        """Size of the first axis of the first tensor: what `Tap.positions` makes positions of."""
        return len(next(iter(self.tensors.values())))


class Preprocessor(Protocol):
    """Turns raw samples or ready tensors into rows, and rows into one padded batch."""

    spec: PreprocessSpec

    @property
    def raw_input(self) -> TensorSpec:
        """The raw input as the wire sees it: `text` BYTES [-1]."""

    @property
    def tensor_inputs(self) -> tuple[TensorSpec, ...]:
        """The ready tensors that a caller may send instead of `raw_input`; optional ones are not listed."""

    def rows(self, raw: Sequence[Any]) -> list[Row]:
        """One row per raw sample (`bytes` or `str`). Raises `InvalidInput` naming the sample's index."""

    def rows_from_tensors(self, tensors: Mapping[str, Array]) -> list[Row]:
        """One row per first-axis slice of ready tensors, padding stripped. Raises `InvalidInput`."""

    def collate(self, rows: Sequence[Row]) -> dict[str, Array]:
        """Graph inputs for rows that share a batch, padded to the longest of them and no further."""


@runtime_checkable
class TextReader(Protocol):
    """A preprocessor whose rows can say where each of their positions stands in the text.

    Such rows have `extra` with `text` (the text that answers point into), `offsets` INT32 [positions, 2] (first
    character and one behind the last of each position in that text) and `words` INT32 [positions]: the number of the
    word that the position is a part of, -1 where it is not of that text.
    """

    def rows_with_text(self, raw: Sequence[Any]) -> list[Row]:
        """`rows` with `extra`."""

    def rows_of_pairs(self, questions: Sequence[Any], contexts: Sequence[Any]) -> list[Row]:
        """One row per question and context, with `extra` of the context; a row too long loses the context's end."""


@runtime_checkable
class MediaReader(Protocol):
    """A preprocessor of encoded images or recordings, whose rows are far larger than what they are made of.

    Whoever takes them from strangers makes them one at a time, and stops when it is enough.
    """

    def row(self, data: Any, index: int) -> Row:
        """The row of one sample; raises `InvalidInput` that calls it by `index`."""


def open_preprocessor(spec: PreprocessSpec, files: Mapping[str, Path]) -> Preprocessor:
    """The implementation of `spec`, reading its files (role to local path). Raises `Unsupported`."""
    if spec.kind == "text":
        from headstock.preprocess.text import TextPreprocessor

        return TextPreprocessor(spec, files)
    if spec.kind == "image":
        from headstock.preprocess.image import ImagePreprocessor

        return ImagePreprocessor(spec, files)
    if spec.kind in ("waveform", "mfcc"):
        from headstock.preprocess.audio import MfccPreprocessor, WaveformPreprocessor

        return (WaveformPreprocessor if spec.kind == "waveform" else MfccPreprocessor)(spec, files)
    if spec.kind == "table":
        from headstock.preprocess.table import TablePreprocessor

        return TablePreprocessor(spec, files)
    raise Unsupported(
        f"preprocessing kind {spec.kind!r} is not known to this version; "
        "expected 'text', 'image', 'waveform', 'mfcc' or 'table'"
    )
