"""Recordings from a manifest to answers of a server: words that are tones, on a random wav2vec2."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from headstock.cli.main import cli
from headstock.errors import HeadstockError
from headstock.preprocess.audio_samples import RATE, encode
from headstock.settings import Settings
from headstock.testing.tiny_audio import make_tiny_wav2vec2
from headstock_client import Client, InvalidRequest, Overloaded
from headstock_server.app import Running, ServeOptions
from headstock_server.dataplane.limits import Limits
from headstock_server.engine import EngineOptions
from headstock_server.testing import background_server

WORDS = {"low": (200, 300), "high": (1500, 1200), "rising": (300, 1500)}
"""A word and the tones in Hz that say it."""
EACH = 20


def spoken(word: str, seed: int) -> bytes:
    """A WAV file of the word's two tones, a little off in pitch and length, with breath."""
    random = np.random.default_rng([5, seed])
    tones = []
    for frequency in WORDS[word]:
        time = np.arange(int(RATE * random.uniform(0.08, 0.14))) / RATE
        tones.append(np.sin(2 * np.pi * frequency * random.uniform(0.95, 1.05) * time))
    sound = 0.5 * np.concatenate(tones)
    return encode((sound + random.normal(0, 0.01, len(sound))).astype(np.float32))


def run(home: Path, *arguments: str) -> Result:
    result = CliRunner(env={"HEADSTOCK_HOME": str(home)}).invoke(cli, arguments)
    if result.exception is not None and not isinstance(result.exception, HeadstockError | SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings, their manifest as DeepSpeech writes it, and `home` with a random wav2vec2 and model `words:1`."""
    root = tmp_path_factory.mktemp("audio")
    (root / "clips").mkdir()
    lines = ["wav_filename,wav_filesize,transcript"]
    for index in range(EACH * len(WORDS)):
        word = list(WORDS)[index % len(WORDS)]
        data = spoken(word, index)
        (root / "clips" / f"{index}.wav").write_bytes(data)
        lines.append(f"clips/{index}.wav,{len(data)},{word}")
    (root / "words.csv").write_text("\n".join(lines) + "\n")
    make_tiny_wav2vec2(root / "wav2vec2")
    assert run(root / "home", "pull", f"path:{root / 'wav2vec2'}", "--name", "ears").exit_code == 0
    base = ["--backbone", "ears", "--head", "audio-classification", "--data", str(root / "words.csv")]
    made = run(root / "home", "fine-tune", *base, "--name", "words", "--label-column", "transcript")
    assert made.exit_code == 0, made.output
    return root


@pytest.fixture(scope="module")
def server(work: Path) -> Iterator[Running]:
    options = ServeOptions(
        bind="127.0.0.1:0", engine=EngineOptions(token_budget=256), limits=Limits(decoded_bytes=1 << 20)
    )
    with background_server(Settings.from_environment({"HEADSTOCK_HOME": str(work / "home")}), options) as running:
        yield running


def clips(work: Path, count: int = 6) -> list[Path]:
    return [work / "clips" / f"{index}.wav" for index in range(count)]


def test_a_manifest_of_tone_words_makes_a_model_far_above_the_majority(work: Path) -> None:
    """Random frames are features enough for three words."""
    base = ["--backbone", "ears", "--head", "audio-classification", "--data", str(work / "words.csv")]
    again = run(
        work / "home", "fine-tune", *base, "--name", "again", "--label-column", "transcript", "--format", "json"
    )
    report = json.loads(again.stdout)
    assert report["input"] == "audio"
    assert report["features"] == {"computed": 0, "cached": EACH * len(WORDS), "cache": True}
    assert report["metrics"][0]["value"] >= 0.8
    assert report["majority"]["accuracy"] < 0.4


def test_a_server_answers_paths_and_bytes_of_different_lengths_alike(work: Path, server: Running) -> None:
    """In one batch and one by one, and as `predict` does in this process."""
    paths = clips(work)
    with Client(server.address) as client:
        together = client.classify("words", paths)
        alone = [client.classify("words", [path.read_bytes()])[0] for path in paths]
    assert together == alone
    right = sum(a.label == word for a, word in zip(together, ["low", "high", "rising"] * 2, strict=True))
    assert right >= 5
    here = run(work / "home", "predict", "words", *map(str, paths), "--format", "quiet")
    assert here.stdout.split() == [answer.label for answer in together]


def test_recordings_that_become_too_long_together_are_refused(work: Path, server: Running) -> None:
    """Silence shrinks a hundred times in FLAC; what counts is what it becomes."""
    soundfile = pytest.importorskip("soundfile")
    import io

    file = io.BytesIO()
    soundfile.write(file, np.zeros(RATE * 2, np.float32), RATE, format="FLAC")
    with Client(server.address) as client, pytest.raises(Overloaded, match="when they are decoded"):
        client.classify("words", [file.getvalue()] * 8)


def test_what_is_no_recording_is_named_by_its_place(work: Path, server: Running) -> None:
    """Before any library sees its bytes."""
    with Client(server.address) as client, pytest.raises(InvalidRequest, match="audio 1 is no WAV or FLAC file"):
        client.classify("words", [clips(work)[0], b"ID3 something else"])
