"""Encoded sound to network input: the preprocessing kinds `waveform` and `mfcc`, numpy alone but for the decoding."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from headstock.errors import InvalidInput
from headstock.preprocess.audio_decode import RATES, Floats, decode
from headstock.preprocess.mfcc import Mfcc, MfccOptions
from headstock.preprocess.spec import Array, PreprocessSpec, Row
from headstock.records import TensorSpec

MASK = "attention_mask"
RESAMPLING = "soxr-hq"
"""The one resampler; named in every spec, so that another one would make another digest."""
FRAME_SECONDS = 0.02
"""What counts as one unit of `Row.length`."""
MAX_SECONDS = 3_600
"""Longest `max_seconds` that a spec may ask for."""

_ONE = np.ones((), np.int64)


class AudioPreprocessor(ABC):
    """What both kinds share: rows of one FP32 tensor whose first axis is time, and an INT64 mask of ones.

    Options of both: `sampling_rate` (Hz), `max_seconds`, `resampling`. Longer recordings are refused, never cut:
    half a recording is another recording. Thread-safe.
    """

    kind: ClassVar[str]
    tensor: ClassVar[str]
    spec: PreprocessSpec

    def __init__(self, spec: PreprocessSpec, files: Mapping[str, Path]) -> None:
        """Check the spec. Raises `InvalidInput`."""
        if spec.files:
            raise InvalidInput(f"{self.kind} preprocessing has files {sorted(spec.files)}; expected none")
        self.spec = spec
        self._rate = _whole(spec.options, "sampling_rate", *RATES)
        self._max_seconds = _whole(spec.options, "max_seconds", 1, MAX_SECONDS)
        if spec.options.get("resampling") != RESAMPLING:
            raise InvalidInput(f"resampling {spec.options.get('resampling')!r} is not known; expected {RESAMPLING!r}")

    @property
    def raw_input(self) -> TensorSpec:
        """`audio` BYTES [-1]: encoded WAV or FLAC."""
        return TensorSpec("audio", "BYTES", (-1,))

    @property
    def tensor_inputs(self) -> tuple[TensorSpec, ...]:
        """The tensor FP32 [-1, -1, ...] and `attention_mask` INT64 [-1, -1]."""
        return (TensorSpec(self.tensor, "FP32", (-1, -1, *self._inner)), TensorSpec(MASK, "INT64", (-1, -1)))

    def rows(self, raw: Sequence[Any]) -> list[Row]:
        """One row per encoded recording. Raises `InvalidInput` naming the recording's index."""
        return [self.row(data, index) for index, data in enumerate(raw)]

    def row(self, data: Any, index: int) -> Row:
        """The row of one encoded recording. Raises `InvalidInput` that calls it by `index`."""
        samples = decode(data, index, rate=self._rate, max_seconds=self._max_seconds)
        return self._row(self._features(samples, f"audio {index}"))

    def rows_from_tensors(self, tensors: Mapping[str, Array]) -> list[Row]:
        """One row per first-axis slice, padding to the right of its mask's ones stripped. Raises `InvalidInput`."""
        names = [spec.name for spec in self.tensor_inputs]
        if sorted(tensors) != sorted(names):
            raise InvalidInput(f"inputs {sorted(tensors)} do not fit; expected {names}")
        values, mask = tensors[self.tensor], tensors[MASK]
        self._check_shapes(values, mask)
        lengths = self._lengths(mask)
        rows = []
        for index, length in enumerate(lengths.tolist()):
            row = values[index, :length]
            # Behind the mask anything may lie; before its end a NaN would fail the batch's sanity, not only the row's.
            if not np.isfinite(row).all():
                raise InvalidInput(f"row {index} of {self.tensor!r} holds NaN or infinity; expected finite values")
            rows.append(self._row(row))
        return rows

    def collate(self, rows: Sequence[Row]) -> dict[str, Array]:
        """The tensor and its mask, padded with zeros on the right to the longest row."""
        values = [row.tensors[self.tensor] for row in rows]
        lengths = np.array([len(value) for value in values])
        longest = int(lengths.max())
        batch = np.zeros((len(rows), longest, *self._inner), np.float32)
        for slot, value in zip(batch, values, strict=True):
            slot[: len(value)] = value
        return {self.tensor: batch, MASK: (np.arange(longest) < lengths[:, None]).astype(np.int64)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(sampling_rate={self._rate}, max_seconds={self._max_seconds})"

    @property
    @abstractmethod
    def _inner(self) -> tuple[int, ...]:
        """Sizes of the tensor's axes after batch and time."""

    @property
    @abstractmethod
    def _limits(self) -> tuple[int, int]:
        """Shortest and longest first axis of a row."""

    @abstractmethod
    def _features(self, samples: Floats, what: str) -> Floats:
        """The row's tensor from samples [n]; raises `InvalidInput` that begins with `what`."""

    @abstractmethod
    def _cost(self, length: int) -> int:
        """Units of `FRAME_SECONDS` in a row of this length."""

    def _row(self, values: Floats) -> Row:
        mask = np.broadcast_to(_ONE, (len(values),))
        return Row({self.tensor: values, MASK: mask}, max(1, self._cost(len(values))))

    def _check_shapes(self, values: Array, mask: Array) -> None:
        if values.dtype != np.float32:
            raise InvalidInput(f"input {self.tensor!r} has dtype {values.dtype}; expected float32 (FP32)")
        if mask.dtype != np.int64:
            raise InvalidInput(f"input {MASK!r} has dtype {mask.dtype}; expected int64 (INT64)")
        if values.ndim != 2 + len(self._inner) or values.shape[2:] != self._inner or values.shape[1] == 0:
            expected = ["rows", "time", *self._inner]
            raise InvalidInput(f"input {self.tensor!r} has shape {list(values.shape)}; expected {expected}")
        if mask.shape != values.shape[:2]:
            raise InvalidInput(
                f"input {MASK!r} has shape {list(mask.shape)}; expected {list(values.shape[:2])}, as {self.tensor!r}"
            )

    def _lengths(self, mask: Array) -> npt.NDArray[np.int64]:
        lengths: npt.NDArray[np.int64] = mask.sum(axis=1)
        # Ones, then zeros: a hole would shift the statistics that the network takes over the ones.
        bad = np.flatnonzero((mask != (np.arange(mask.shape[1]) < lengths[:, None])).any(axis=1))
        if bad.size:
            raise InvalidInput(f"row {bad[0]} of {MASK!r} is not ones followed by zeros")
        least, most = self._limits
        for index, length in enumerate(lengths.tolist()):
            if not least <= length <= most:
                raise InvalidInput(f"row {index} has {length} steps in {MASK!r}; expected {least} to {most}")
        return lengths


class WaveformPreprocessor(AudioPreprocessor):
    """The `waveform` kind: `input_values` FP32 [n, samples], each recording brought to mean 0 and variance 1.

    Further options: `normalise` (bool), `min_samples`: fewer give the network no frame.
    """

    kind = "waveform"
    tensor = "input_values"

    def __init__(self, spec: PreprocessSpec, files: Mapping[str, Path]) -> None:
        """Check the spec. Raises `InvalidInput`."""
        _expect_options(
            self.kind, spec.options, "sampling_rate", "max_seconds", "resampling", "normalise", "min_samples"
        )
        super().__init__(spec, files)
        if not isinstance(spec.options["normalise"], bool):
            raise InvalidInput(f"option 'normalise' is {spec.options['normalise']!r}; expected true or false")
        self._normalise: bool = spec.options["normalise"]
        self._min = _whole(spec.options, "min_samples", 1, self._rate * self._max_seconds)

    @property
    def _inner(self) -> tuple[int, ...]:
        return ()

    @property
    def _limits(self) -> tuple[int, int]:
        return self._min, self._rate * self._max_seconds

    def _features(self, samples: Floats, what: str) -> Floats:
        if len(samples) < self._min:
            raise InvalidInput(
                f"{what} has {len(samples)} samples at {self._rate} Hz; expected at least {self._min}, "
                "which is what the network needs for one frame"
            )
        # Resampling can end a sample behind the limit that the decoder held.
        samples = samples[: self._limits[1]]
        return normalised(samples) if self._normalise else samples

    def _cost(self, length: int) -> int:
        return math.ceil(length / (self._rate * FRAME_SECONDS))


class MfccPreprocessor(AudioPreprocessor):
    """The `mfcc` kind: `features` FP32 [n, frames, coefficients]. Further options: `mfcc`, see `MfccOptions`."""

    kind = "mfcc"
    tensor = "features"

    def __init__(self, spec: PreprocessSpec, files: Mapping[str, Path]) -> None:
        """Check the spec. Raises `InvalidInput`."""
        _expect_options(self.kind, spec.options, "sampling_rate", "max_seconds", "resampling", "mfcc")
        super().__init__(spec, files)
        self._mfcc = Mfcc(MfccOptions.parse(spec.options["mfcc"]))
        if self._mfcc.options.sampling_rate != self._rate:
            raise InvalidInput(
                f"mfcc are taken at {self._mfcc.options.sampling_rate} Hz but sampling_rate is {self._rate} Hz"
            )
        self._max_frames = self._mfcc.frames(self._rate * self._max_seconds)

    @property
    def _inner(self) -> tuple[int, ...]:
        return (self._mfcc.options.coefficients,)

    @property
    def _limits(self) -> tuple[int, int]:
        return 1, self._max_frames

    def _features(self, samples: Floats, what: str) -> Floats:
        features = self._mfcc(samples[: self._rate * self._max_seconds])
        if not len(features):
            raise InvalidInput(
                f"{what} has {len(samples)} samples at {self._rate} Hz; expected at least {self._mfcc.options.window}"
            )
        return features

    def _cost(self, length: int) -> int:
        return math.ceil(length * self._mfcc.options.hop / (self._rate * FRAME_SECONDS))


def normalised(samples: Floats) -> Floats:
    """Samples [n] with mean 0 and variance 1; silence stays silence."""
    values = samples.astype(np.float64)
    centred = values - values.mean()
    result: Floats = (centred / np.sqrt(np.mean(centred**2) + 1e-7)).astype(np.float32)
    return result


def _expect_options(kind: str, options: Mapping[str, Any], *names: str) -> None:
    if sorted(options) != sorted(names):
        raise InvalidInput(f"{kind} preprocessing options are {sorted(options)}; expected {sorted(names)}")


def _whole(options: Mapping[str, Any], name: str, least: int, most: int) -> int:
    value = options[name]
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidInput(f"option {name!r} is {value!r}; expected a whole number from {least} to {most}")
    return value
