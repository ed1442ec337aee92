"""Audio preprocessing: what is decoded, what is refused before it costs anything, and what the network gets."""

from __future__ import annotations

import io
import struct
import subprocess
from collections.abc import Mapping
from shutil import which
from typing import Any

import numpy as np
import pytest
import soundfile

from headstock.errors import InvalidInput
from headstock.preprocess import PreprocessSpec, Row, open_preprocessor
from headstock.preprocess.audio import MfccPreprocessor, WaveformPreprocessor, normalised
from headstock.preprocess.audio_decode import decode
from headstock.preprocess.audio_samples import RATE, encode, hostile, samples, voice
from headstock.preprocess.mfcc import Mfcc, MfccOptions

WAVEFORM = {
    "sampling_rate": RATE,
    "max_seconds": 5,
    "resampling": "soxr-hq",
    "normalise": True,
    "min_samples": 400,
}
MFCC = {"sampling_rate": RATE, "max_seconds": 5, "resampling": "soxr-hq", "mfcc": MfccOptions().to_json()}


def waveform(**changes: Any) -> WaveformPreprocessor:
    return WaveformPreprocessor(PreprocessSpec("waveform", {**WAVEFORM, **changes}, {}), {})


def mfcc(**changes: Any) -> MfccPreprocessor:
    return MfccPreprocessor(PreprocessSpec("mfcc", {**MFCC, **changes}, {}), {})


def written(sound: np.ndarray, rate: int = RATE, *, subtype: str = "PCM_16", form: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound, rate, subtype=subtype, format=form)
    return file.getvalue()


def read(data: bytes, *, max_seconds: float = 5) -> np.ndarray:
    return decode(data, 0, rate=RATE, max_seconds=max_seconds)


# ---------------------------------------------------------------------------------------------- decoding
@pytest.mark.parametrize("form", ["WAV", "WAVEX", "FLAC"])
def test_wav_and_flac_give_the_same_samples(form: str) -> None:
    sound = np.round(voice(0.3) * 32767).astype(np.int16)
    assert np.array_equal(read(written(sound, form=form)), sound.astype(np.float32) / 32768)


@pytest.mark.parametrize("subtype, error", [("PCM_24", 1e-6), ("FLOAT", 0.0), ("DOUBLE", 0.0), ("ULAW", 0.03)])
def test_encodings_decode_to_their_precision(subtype: str, error: float) -> None:
    sound = voice(0.2)
    assert np.abs(read(written(sound, subtype=subtype)) - sound).max() <= error


def test_channels_are_averaged() -> None:
    left, right = voice(0.2, 1), voice(0.2, 2)
    mixed = read(written(np.stack([left, right], axis=1), subtype="FLOAT"))
    assert np.allclose(mixed, (left + right) / 2, atol=1e-7)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_another_rate_is_resampled_to_the_same_tone(rate: int) -> None:
    seconds = 6.3  # longer than one block of the reader
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    found = read(written(tone, rate, subtype="FLOAT"), max_seconds=10)
    assert abs(len(found) - seconds * RATE) <= 1
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(found)) / RATE)
    inner = slice(RATE // 10, -RATE // 10)
    assert np.abs(found[inner] - expected[inner]).max() < 1e-3


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_a_wav_of_a_streaming_writer_without_a_size_is_read(size: int) -> None:
    data = bytearray(encode(voice(0.2)))
    at = data.index(b"data") + 4
    data[at : at + 4] = size.to_bytes(4, "little")
    assert len(read(bytes(data))) == round(0.2 * RATE)
    with pytest.raises(InvalidInput, match=r"at most 0\.1 s"):
        read(bytes(data), max_seconds=0.1)


@pytest.mark.skipif(which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_what_espeak_ng_writes_to_a_pipe_is_read() -> None:
    sound = subprocess.run(["espeak-ng", "--stdout", "one two three"], capture_output=True, check=True).stdout
    assert len(read(sound)) > 0.5 * RATE


# ---------------------------------------------------------------------------------------------- refusals
def with_header(**fields: int) -> bytes:
    """A WAV of half a second with header fields set otherwise."""
    data = bytearray(encode(voice(0.5)))
    for name, value in fields.items():
        offset, code = {"channels": (22, "<H"), "rate": (24, "<I"), "format": (20, "<H")}[name]
        struct.pack_into(code, data, offset, value)
    return bytes(data)


HOSTILE = {
    "not audio": (b"hello there, this is text", "no WAV or FLAC"),
    "empty": (b"", "no WAV or FLAC"),
    "ogg": (b"OggS" + bytes(100), "no WAV or FLAC"),
    "no samples": (encode(np.zeros(0, np.float32)), "no samples"),
    "one hertz": (with_header(rate=1), "1 Hz"),
    "absurd rate": (with_header(rate=2_000_000_000), "Hz"),
    "no channels": (with_header(channels=0), "audio 0"),
    "many channels": (written(np.zeros((100, 16), np.float32)), "16 channels"),
    "unknown encoding": (with_header(format=0x1234), "audio 0"),
    "rare encoding": (written(voice(0.2), subtype="IMA_ADPCM"), "IMA_ADPCM"),
    "header only": (encode(voice(0.5))[:30], "cut off"),
    "truncated wav": (encode(voice(0.5))[:-1000], "cut off"),
    "truncated flac": (written(voice(0.5), form="FLAC")[:-1500], "audio 0"),
    "too long": (encode(voice(5.1)), "at most 5 s"),
    "not a number": (written(np.array([0.0, np.nan] * 400, np.float32), subtype="FLOAT"), "NaN"),
    "infinite": (written(np.array([0.0, np.inf] * 400, np.float32), subtype="FLOAT"), "NaN"),
    "text instead of bytes": ("sound", "str"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_cannot_be_heard_is_refused(case: str) -> None:
    data, expected = HOSTILE[case]
    with pytest.raises(InvalidInput, match=expected):
        waveform().rows([data])


def test_a_refusal_names_the_recording() -> None:
    with pytest.raises(InvalidInput, match="audio 2 "):
        waveform().rows([samples()[3], samples()[4], b"noise"])


def test_a_flac_that_promises_hours_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half an hour of silence in 30 kB: the header decides, nothing is read."""
    data = written(np.zeros(8_000 * 1800, np.int16), 8_000, form="FLAC")
    assert len(data) < 100_000
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *a, **k: pytest.fail("it was decoded"))
    with pytest.raises(InvalidInput, match=r"1800\.0 s"):
        read(data)


def test_a_flac_that_lies_about_its_length_is_stopped_while_it_is_decoded() -> None:
    data = bytearray(written(np.zeros(8_000 * 600, np.int16), 8_000, form="FLAC"))
    # STREAMINFO: the last 36 bits before the checksum are the number of samples; 0 means unknown.
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    with pytest.raises(InvalidInput, match="at most 5 s"):
        read(bytes(data))


def test_too_few_samples_for_one_frame_are_refused() -> None:
    with pytest.raises(InvalidInput, match="399 samples at 16000 Hz; expected at least 400"):
        waveform().rows([encode(voice(1)[:399])])
    assert waveform().rows([encode(voice(1)[:400])])[0].length == 2


@pytest.mark.parametrize("data", hostile(0.5))
def test_extreme_sound_gives_finite_rows(data: bytes) -> None:
    for preprocessor in (waveform(), mfcc()):
        (row,) = preprocessor.rows([data])
        assert np.isfinite(row.tensors[preprocessor.tensor]).all()


# ---------------------------------------------------------------------------------------------- waveform
def test_normalisation_is_that_of_the_original_extractor() -> None:
    from transformers import Wav2Vec2FeatureExtractor

    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    for seed in range(3):
        sound = voice(0.4, seed) * 0.3 + 0.05
        expected = extractor(sound, sampling_rate=RATE).input_values[0]
        assert np.abs(normalised(sound) - expected).max() < 2e-6


def test_cost_is_counted_in_twenty_milliseconds() -> None:
    lengths = [row.length for row in waveform().rows([encode(voice(s)) for s in (0.1, 0.105, 1.0)])]
    assert lengths == [5, 6, 50]


def test_rows_are_padded_to_the_longest_with_zeros_and_a_mask() -> None:
    preprocessor = waveform()
    rows = preprocessor.rows(samples()[2:5])
    batch = preprocessor.collate(rows)
    longest = max(len(row.tensors["input_values"]) for row in rows)
    assert batch["input_values"].shape == batch["attention_mask"].shape == (3, longest)
    assert batch["input_values"].dtype == np.float32
    assert batch["attention_mask"].dtype == np.int64
    for slot, row in enumerate(rows):
        size = len(row.tensors["input_values"])
        assert np.array_equal(batch["input_values"][slot, :size], row.tensors["input_values"])
        assert not batch["input_values"][slot, size:].any()
        assert batch["attention_mask"][slot].sum() == size


@pytest.mark.parametrize("make", [waveform, mfcc])
def test_ready_tensors_give_the_rows_that_the_recordings_give(make: Any) -> None:
    preprocessor = make()
    rows = preprocessor.rows(samples())
    batch = preprocessor.collate(rows)
    # What stands behind the mask must not matter.
    batch[preprocessor.tensor][batch["attention_mask"] == 0] = np.nan
    again = preprocessor.rows_from_tensors(batch)
    assert [row.length for row in again] == [row.length for row in rows]
    for one, two in zip(rows, again, strict=True):
        assert np.array_equal(one.tensors[preprocessor.tensor], two.tensors[preprocessor.tensor])
        assert np.array_equal(one.tensors["attention_mask"], two.tensors["attention_mask"])


def tensors(**changes: Any) -> Mapping[str, np.ndarray]:
    good = {"input_values": np.ones((2, 500), np.float32), "attention_mask": np.ones((2, 500), np.int64)}
    return {**good, **changes}


HOLE = np.ones((2, 500), np.int64)
HOLE[1, 100] = 0
SHORT = np.ones((2, 500), np.int64)
SHORT[1, 399:] = 0
NAN = np.ones((2, 500), np.float32)
NAN[0, 3] = np.nan


@pytest.mark.parametrize(
    "bad, expected",
    [
        ({"input_values": np.ones((2, 500))}, "float64"),
        ({"attention_mask": np.ones((2, 500), np.int32)}, "int32"),
        ({"input_values": np.ones((2, 0), np.float32)}, r"\[2, 0\]"),
        ({"input_values": np.ones(500, np.float32)}, r"\[500\]"),
        ({"attention_mask": np.ones((2, 499), np.int64)}, r"\[2, 499\]"),
        ({"attention_mask": np.zeros((2, 500), np.int64)}, "0 steps"),
        ({"attention_mask": np.full((2, 500), 2)}, "ones followed by zeros"),
        ({"attention_mask": HOLE}, "row 1 .* ones followed by zeros"),
        ({"attention_mask": SHORT}, "row 1 has 399 steps"),
        ({"input_values": NAN}, "row 0 .* NaN"),
        ({"other": np.ones((2, 500), np.float32)}, "other"),
    ],
)
def test_ready_tensors_that_would_spoil_a_batch_are_refused(bad: Mapping[str, Any], expected: str) -> None:
    with pytest.raises(InvalidInput, match=expected):
        waveform().rows_from_tensors(tensors(**bad))


def test_a_missing_tensor_is_named() -> None:
    with pytest.raises(InvalidInput, match="attention_mask"):
        waveform().rows_from_tensors({"input_values": np.ones((1, 500), np.float32)})


# ---------------------------------------------------------------------------------------------- cepstra
def test_a_tail_makes_one_more_frame_or_none() -> None:
    frames = [Mfcc(MfccOptions(tail=tail)).frames(n) for tail in ("pad", "drop") for n in (1, 512, 513, 832, 833)]
    assert frames == [1, 2, 2, 3, 3, 0, 1, 1, 2, 2]


def test_a_recording_in_blocks_has_the_coefficients_of_its_parts() -> None:
    sound = np.tile(voice(1.0), 90)  # 4500 frames: more than one block
    whole = Mfcc(MfccOptions())(sound)
    part = Mfcc(MfccOptions())(sound[320 * 4090 : 320 * 4110 + 192])
    assert np.abs(whole[4090:4110] - part[:20]).max() < 1e-4


def test_a_steady_tone_rises_where_it_sounds() -> None:
    """Undoing the cosine transform gives back a peak in the mel channel of the tone."""
    options = MfccOptions(coefficients=40)
    time = np.arange(RATE) / RATE
    for hertz, low, high in ((300, 4, 7), (3000, 25, 28)):
        coefficients = Mfcc(options)(np.sin(2 * np.pi * hertz * time).astype(np.float32))[10].astype(np.float64)
        coefficients[0] /= 2
        n = np.arange(40)
        channels = np.cos(np.pi / 40 * np.outer(n + 0.5, n)) @ coefficients
        assert low <= int(channels.argmax()) <= high


@pytest.mark.parametrize(
    "kind, changes, expected",
    [
        ("waveform", {"sampling_rate": 1}, "sampling_rate"),
        ("waveform", {"max_seconds": 0}, "max_seconds"),
        ("waveform", {"max_seconds": True}, "max_seconds"),
        ("waveform", {"normalise": "yes"}, "normalise"),
        ("waveform", {"resampling": "linear"}, "linear"),
        ("waveform", {"surprise": 1}, "surprise"),
        ("mfcc", {"sampling_rate": 8_000}, "8000 Hz"),
        ("mfcc", {"mfcc": {**MfccOptions().to_json(), "window": 500}}, "power of two"),
        ("mfcc", {"mfcc": {**MfccOptions().to_json(), "high_hz": 9000.0}}, "9000"),
        ("mfcc", {"mfcc": {**MfccOptions().to_json(), "tail": "wag"}}, "wag"),
        ("mfcc", {"mfcc": {}}, "coefficients"),
    ],
)
def test_a_bad_spec_is_refused_and_names_the_option(kind: str, changes: Mapping[str, Any], expected: str) -> None:
    good = WAVEFORM if kind == "waveform" else MFCC
    with pytest.raises(InvalidInput, match=expected):
        open_preprocessor(PreprocessSpec(kind, {**good, **changes}, {}), {})


def test_samples_are_the_same_every_time_and_of_many_lengths() -> None:
    assert samples() == samples()
    lengths = [row.length for row in mfcc().rows(samples())]
    assert len(set(lengths)) == len(lengths) >= 10
    assert all(isinstance(row, Row) and not row.truncated for row in waveform().rows(samples()))
