"""A few synthetic voices, encoded: what a pull shows a new audio backbone to check its exported graph."""

from __future__ import annotations

import io
import wave

import numpy as np
import numpy.typing as npt

RATE = 16_000
"""Hz."""

# Formants of five vowels in Hz (Peterson and Barney, 1952), and a pause.
_VOWELS = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410), ())
_SECONDS = (0.06, 0.11, 0.2, 0.27, 0.34, 0.5, 0.62, 0.75, 0.9, 1.1, 1.3, 1.6)


def samples() -> list[bytes]:
    """Twelve WAV files of 0.06 to 1.6 s at 16 kHz: vowels, pauses and breath; the same on every call."""
    return [encode(voice(seconds, seed)) for seed, seconds in enumerate(_SECONDS)]


def voice(seconds: float, seed: int = 0) -> npt.NDArray[np.float32]:
    """Samples [n] in -1..1 that sound remotely like a voice: gliding pulses through formants, and noise."""
    random = np.random.default_rng([11, seed])
    count = max(1, round(seconds * RATE))
    time = np.arange(count) / RATE
    pitch = random.uniform(90, 220) * (1 + 0.1 * np.sin(2 * np.pi * random.uniform(1, 3) * time))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    sound = random.normal(0, 0.003, count)
    for start in range(0, count, round(0.12 * RATE)):
        part = slice(start, start + round(0.12 * RATE))
        for formant in _VOWELS[random.integers(len(_VOWELS))]:
            # The harmonics next to the formant are those that a vocal tract lets through.
            for harmonic in {max(1, round(formant / pitch[start]) + k) for k in (-1, 0, 1)}:
                sound[part] += 0.1 * np.sin(harmonic * phase[part])
    return np.clip(sound, -1, 1).astype(np.float32)


def encode(sound: npt.NDArray[np.float32], rate: int = RATE) -> bytes:
    """A WAV file with 16 bits per sample of samples [n] or [n, channels] in -1..1."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1 if sound.ndim == 1 else sound.shape[1])
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(np.round(sound * 32767).astype("<i2").tobytes())
    return file.getvalue()


def hostile(seconds: float = 3.0) -> list[bytes]:
    """Recordings to try neighbours with: silence, a click, a full-scale square wave, loud noise and a long voice."""
    count = round(seconds * RATE)
    silence = np.zeros(count, np.float32)
    click = silence.copy()
    click[count // 2] = 1.0
    square = np.sign(np.sin(2 * np.pi * 440 * np.arange(count) / RATE)).astype(np.float32)
    noise = np.random.default_rng(12).uniform(-1, 1, count).astype(np.float32)
    return [encode(sound) for sound in (silence, click, square, noise, voice(seconds, 99))]
