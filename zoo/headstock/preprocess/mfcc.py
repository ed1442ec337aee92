"""Mel-frequency cepstral coefficients in numpy, equal to TensorFlow's audio operators that DeepSpeech was trained on.

Davis and Mermelstein, "Comparison of parametric representations for monosyllabic word recognition in continuously
spoken sentences", 1980. The details (periodic Hann window, magnitudes, triangles that share edges, floor, unscaled
cosine transform) are those of `AudioSpectrogram` and `Mfcc`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from headstock.errors import InvalidInput

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_FLOOR = 1e-12
_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class MfccOptions:
    """What decides the coefficients; the defaults are Mozilla DeepSpeech's."""

    sampling_rate: int = 16_000
    """Hz."""
    coefficients: int = 26
    window: int = 512
    """Samples per frame; a power of two."""
    hop: int = 320
    """Samples from one frame to the next."""
    mel_channels: int = 40
    low_hz: float = 20.0
    high_hz: float = 8_000.0
    tail: str = "pad"
    """What becomes of samples behind the last whole frame: `pad` makes one more frame of them, filled up with zeros,
    as the native client does when a recording ends; `drop` leaves them out, as the original's training did."""

    def __post_init__(self) -> None:
        for name in ("sampling_rate", "coefficients", "window", "hop", "mel_channels"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1_000_000:
                raise InvalidInput(f"mfcc option {name!r} is {value!r}; expected a whole number of at least 1")
        if self.window & (self.window - 1):
            raise InvalidInput(f"mfcc option 'window' is {self.window}; expected a power of two")
        if not 0 <= self.low_hz < self.high_hz <= self.sampling_rate / 2:
            raise InvalidInput(
                f"mfcc band {self.low_hz} to {self.high_hz} Hz; expected 0 <= low < high <= {self.sampling_rate / 2}"
            )
        if self.tail not in ("pad", "drop"):
            raise InvalidInput(f"mfcc option 'tail' is {self.tail!r}; expected 'pad' or 'drop'")

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> MfccOptions:
        """Options out of a spec, all of them required. Raises `InvalidInput`."""
        names = {field.name for field in fields(cls)}
        if set(options) != names:
            raise InvalidInput(f"mfcc options are {sorted(options)}; expected {sorted(names)}")
        return cls(**options)

    def to_json(self) -> dict[str, Any]:
        """The options of a spec."""
        return asdict(self)


class Mfcc:
    """Samples to coefficients. Thread-safe."""

    def __init__(self, options: MfccOptions) -> None:
        self.options = options
        self._hann: Doubles = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(options.window) / options.window)
        self._mel = _mel_weights(options)
        self._cosines = _cosines(options)

    def frames(self, samples: int) -> int:
        """Frames that `samples` samples make."""
        whole = max(0, (samples - self.options.window) // self.options.hop + 1)
        rest = samples - whole * self.options.hop
        return whole + (1 if self.options.tail == "pad" and rest > 0 else 0)

    def __call__(self, samples: Floats) -> Floats:
        """Coefficients [frames, coefficients] FP32 of samples [n]."""
        count = self.frames(len(samples))
        result = np.empty((count, self.options.coefficients), np.float32)
        if count == 0:
            return result
        needed = (count - 1) * self.options.hop + self.options.window
        padded = np.pad(samples[:needed], (0, max(0, needed - len(samples))))
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.options.window)[:: self.options.hop]
        # In blocks: a long recording's spectra in double precision are many times its samples.
        for start in range(0, count, _BLOCK):
            result[start : start + _BLOCK] = self._block(windows[start : start + _BLOCK])
        return result

    def _block(self, windows: Floats) -> Doubles:
        magnitudes = np.abs(np.fft.rfft(windows * self._hann, axis=1))
        channels = np.log(np.maximum(magnitudes @ self._mel, _FLOOR))
        coefficients: Doubles = channels @ self._cosines
        return coefficients


def _mel(hertz: Any) -> Any:
    return 1127.0 * np.log1p(np.asarray(hertz, np.float64) / 700.0)


def _mel_weights(options: MfccOptions) -> Doubles:
    """[window / 2 + 1, mel_channels]: each bin is shared by the two triangles that overlap there."""
    bins = options.window // 2 + 1
    low, high = _mel(options.low_hz), _mel(options.high_hz)
    edges = low + (high - low) / (options.mel_channels + 1) * np.arange(options.mel_channels + 2)
    step = 0.5 * options.sampling_rate / (bins - 1)
    # The first bin that counts, as the operator rounds it.
    first, last = int(1.5 + options.low_hz / step), int(options.high_hz / step)
    weights = np.zeros((bins, options.mel_channels))
    for bin_ in range(first, last + 1):
        mel = _mel(bin_ * step)
        # edges[upper] is the first centre at or above the bin.
        upper = min(int(np.searchsorted(edges[1:], mel, side="left")) + 1, options.mel_channels + 1)
        falling = (edges[upper] - mel) / (edges[upper] - edges[upper - 1])
        if upper >= 2:
            weights[bin_, upper - 2] += falling
        if upper <= options.mel_channels:
            weights[bin_, upper - 1] += 1.0 - falling
    return weights


def _cosines(options: MfccOptions) -> Doubles:
    """[mel_channels, coefficients]: a type-II cosine transform, every coefficient scaled alike."""
    n = options.mel_channels
    angles = np.pi / n * np.outer(np.arange(n) + 0.5, np.arange(options.coefficients))
    cosines: Doubles = np.sqrt(2.0 / n) * np.cos(angles)
    return cosines
