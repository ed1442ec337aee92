"""The preprocessing spec and what every implementation of it can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from headstock.digest import Digest, digest_json
from headstock.errors import Unsupported
from headstock.records import TensorSpec

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class PreprocessSpec:
    """All that decides how raw input becomes tensors; its digest is part of the backbone's."""

    kind: str
    """Which implementation: `text`, `image`, `waveform`, `mfcc`."""
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
    raise Unsupported(
        f"preprocessing kind {spec.kind!r} is not known to this version; "
        "expected 'text', 'image', 'waveform' or 'mfcc'"
    )
