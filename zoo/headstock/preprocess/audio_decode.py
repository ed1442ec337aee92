"""Encoded sound to samples: WAV and FLAC to one channel at one rate, with limits before and while decoding."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from headstock.errors import FailedPrecondition, InvalidInput

Floats = npt.NDArray[np.float32]

RATES = (4_000, 192_000)
"""Lowest and highest sampling rate that is decoded, in Hz."""
MAX_CHANNELS = 8
ENCODINGS = ("PCM_U8", "PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
"""Encodings that are decoded at all, by libsndfile's names: every further decoder is attack surface."""

_BLOCK = 65_536
# Writers that stream do not know the size: they leave 0, which libsndfile reads to the end, or 2 GiB and more.
_UNKNOWN_SIZE = 0x7FFFF000
_UNKNOWN_FRAMES = 1 << 40


def decode(data: Any, index: int, *, rate: int, max_seconds: float) -> Floats:
    """Samples [n] FP32 of encoded sound: channels averaged, resampled to `rate` Hz; n is at least 1.

    Raises `InvalidInput` naming `index` for what is no WAV or FLAC, cut off, empty, longer than `max_seconds`, not
    finite, or of a rate outside `RATES`. Memory is bounded by `max_seconds` at `rate`, whatever the header says.
    """
    if not isinstance(data, bytes):
        raise InvalidInput(f"audio {index} is a {type(data).__name__}; expected the bytes of a WAV or FLAC file")
    data = _checked_container(data, index)
    soundfile = _library("soundfile")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            _check_header(file, index, max_seconds)
            return _read(file, index, rate, max_seconds)
    except soundfile.LibsndfileError as error:
        raise InvalidInput(f"audio {index} cannot be decoded: {error.error_string}", fix="write it again") from error


def _checked_container(data: bytes, index: int) -> bytes:
    # Only these two of libsndfile's thirty readers ever see a caller's bytes.
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return _complete(data, index)
    if data[:4] != b"fLaC":
        raise InvalidInput(
            f"audio {index} is no WAV or FLAC file: it begins with {data[:8]!r}",
            fix="ffmpeg -i INPUT -ac 1 -ar 16000 OUTPUT.wav",
        )
    return data


def _complete(data: bytes, index: int) -> bytes:
    """Compare the size that a WAV file's data chunk states with the bytes that are there: libsndfile does not.

    A file that was streamed states none; it gets the size that it has.
    """
    start = 12
    while start + 8 <= len(data):
        name, size = data[start : start + 4], int.from_bytes(data[start + 4 : start + 8], "little")
        if name == b"data":
            there = len(data) - start - 8
            if size >= _UNKNOWN_SIZE and size > there:
                return data[: start + 4] + there.to_bytes(4, "little") + data[start + 8 :]
            if size > there:
                raise _cut_off(index, f"{there} of {size} bytes are there")
            return data
        start += 8 + size + size % 2
    raise _cut_off(index, "it has no data chunk")


def _check_header(file: Any, index: int, max_seconds: float) -> None:
    if file.subtype not in ENCODINGS:
        raise InvalidInput(f"audio {index} is encoded as {file.subtype}; expected one of {list(ENCODINGS)}")
    if not RATES[0] <= file.samplerate <= RATES[1]:
        raise InvalidInput(f"audio {index} has {file.samplerate} Hz; expected {RATES[0]} to {RATES[1]} Hz")
    if not 1 <= file.channels <= MAX_CHANNELS:
        raise InvalidInput(f"audio {index} has {file.channels} channels; expected 1 to {MAX_CHANNELS}")
    if file.frames == 0:
        raise _empty(index)
    if max_seconds * file.samplerate < file.frames < _UNKNOWN_FRAMES:
        raise _too_long(index, f"{file.frames / file.samplerate:.1f} s", max_seconds)


def _read(file: Any, index: int, rate: int, max_seconds: float) -> Floats:
    # Resampled block by block, so that no more than the result is ever held.
    resampler = None
    if file.samplerate != rate:
        resampler = _library("soxr").ResampleStream(file.samplerate, rate, 1, dtype="float32", quality="HQ")
    blocks: list[Floats] = []
    frames = 0
    while True:
        block = file.read(_BLOCK, dtype="float32", always_2d=True)
        frames += len(block)
        if frames > max_seconds * file.samplerate:
            raise _too_long(index, f"more than {max_seconds:g} s", max_seconds)
        mono = block[:, 0] if file.channels == 1 else block.mean(axis=1, dtype=np.float64).astype(np.float32)
        last = len(block) < _BLOCK
        blocks.append(mono if resampler is None else resampler.resample_chunk(mono, last=last))
        if last:
            break
    if file.frames < _UNKNOWN_FRAMES and frames < file.frames:
        raise _cut_off(index, f"{frames} of {file.frames} samples are there")
    samples: Floats = np.concatenate(blocks)
    if not len(samples):
        raise _empty(index)
    if not np.isfinite(samples).all():
        raise InvalidInput(f"audio {index} holds NaN or infinity; expected finite samples")
    return samples


def _library(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError as error:
        raise FailedPrecondition(
            f"{name} is not installed, and decoding sound needs it",
            fix=f"pip install {name}, or send ready tensors",
        ) from error


def _empty(index: int) -> InvalidInput:
    return InvalidInput(f"audio {index} has no samples; expected at least one")


def _cut_off(index: int, what: str) -> InvalidInput:
    return InvalidInput(f"audio {index} is cut off: {what}", fix="send the whole file")


def _too_long(index: int, length: str, max_seconds: float) -> InvalidInput:
    return InvalidInput(f"audio {index} lasts {length}; expected at most {max_seconds:g} s", fix="split it at a pause")
