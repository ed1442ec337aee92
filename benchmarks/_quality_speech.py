"""Tiny speech networks trained from scratch on synthetic words, pulled, and read by the speech-recognition head."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from _quality import Cell, Zoo
from headstock.hookspecs import BackboneFamily, SourceFiles
from headstock.metrics import transcription
from headstock.preprocess import Preprocessor, open_preprocessor
from headstock.preprocess.audio_samples import RATE, encode
from headstock.testing.tiny_audio import LAYER_NORM, make_tiny_wav2vec2
from headstock_audio.deepspeech.family import DeepSpeechFamily
from headstock_audio.deepspeech.module import DeepSpeechBackbone
from headstock_audio.wav2vec2.family import Wav2Vec2Family

# Eight words over ten letters; those of tones are what a machine without espeak-ng says.
WORDS = ("one", "two", "three", "four", "seven", "eight", "nine", "ten")
TRAIN, VALIDATION, TEST = 480, 60, 100
VOICES = ("en-us", "en-us+m3", "en-us+f2", "en-gb+m1", "en-gb+f4")
SEED = 7
DROPPED = (
    "hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout", "layerdrop",
    "mask_time_prob",
)  # fmt: skip
"""Shares that a wav2vec2 drops while it learns."""


@dataclass(frozen=True)
class Recordings:
    """WAV files and what they say."""

    source: str
    clips: Sequence[bytes]
    texts: Sequence[str]


def record() -> Recordings:
    """One or two words per recording, by espeak-ng in five voices where it is installed, else as tones."""
    random = np.random.default_rng(SEED)
    texts = [" ".join(random.choice(WORDS, random.integers(1, 3))) for _ in range(TRAIN + VALIDATION + TEST)]
    espeak = shutil.which("espeak-ng")
    if espeak is None:
        return Recordings("tone words", [_tones(text, random) for text in texts], texts)
    return Recordings("espeak-ng words", [_espeak(espeak, text, random) for text in texts], texts)


def _espeak(program: str, text: str, random: np.random.Generator) -> bytes:
    voice = VOICES[random.integers(len(VOICES))]
    speed, pitch = random.integers(150, 200), random.integers(30, 70)
    # Not --stdout: a stream's header has no true length, and a recording that looks cut off is refused.
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        options = ("-v", voice, "-s", str(speed), "-p", str(pitch), "-w", file.name)
        subprocess.run([program, *options, text], check=True)
        return Path(file.name).read_bytes()


def _tones(text: str, random: np.random.Generator) -> bytes:
    """Each letter a tone of its own, a space is silence, all a little off in pitch and length, with breath."""
    letters = sorted(set("".join(WORDS)))
    parts = []
    for letter in text:
        time = np.arange(int(RATE * random.uniform(0.06, 0.1))) / RATE
        hertz = 0 if letter == " " else 250 * 1.22 ** letters.index(letter) * random.uniform(0.97, 1.03)
        parts.append(0.4 * np.sin(2 * np.pi * hertz * time))
    sound = np.concatenate(parts)
    return encode((sound + random.normal(0, 0.01, len(sound))).astype(np.float32))


def cells(zoo: Zoo, folder: Path) -> list[Cell]:
    """Word and character error rates on recordings that no part of the training saw."""
    said = record()
    folder.mkdir()
    data = _write(said, folder)
    makers: dict[str, Callable[[Path, Recordings | None], None]] = {
        "deepspeech": deepspeech,
        "wav2vec2": wav2vec2,
    }
    found = []
    for family, make in makers.items():
        for method, recordings in (("trained from scratch", said), ("random backbone", None)):
            torch.manual_seed(SEED)
            name = f"{family}-{'trained' if recordings else 'random'}"
            make(folder / name, recordings)
            zoo.run("pull", f"path:{folder / name}", "--name", name)
            zoo.fine_tune(name, "speech-recognition", data, f"{name}-reads", "--tap", "frames", "--lr", "1e-2")
            clips = [str(folder / f"{i}.wav") for i in range(TRAIN + VALIDATION, len(said.clips))]
            heard = [r["text"] for r in json.loads(zoo.run("predict", f"{name}-reads", *clips, "--format", "json"))]
            errors = {m.name: m for m in transcription(heard, list(said.texts[TRAIN + VALIDATION :]), SEED)}
            for metric in ("wer", "cer"):
                m = errors[metric]
                note = f"{TEST} new recordings, lower is better"
                found.append(Cell(said.source, f"{family}, {method}", metric, m.value, m.low, m.high, note))
    return found


def _write(said: Recordings, folder: Path) -> Path:
    with (folder / "words.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["audio", "transcript", "split"])
        for i, (clip, text) in enumerate(zip(said.clips, said.texts, strict=True)):
            (folder / f"{i}.wav").write_bytes(clip)
            if i < TRAIN + VALIDATION:
                writer.writerow([f"{i}.wav", text, "train" if i < TRAIN else "validation"])
    return folder / "words.csv"


# -------------------------------------------------------------------------------------------- the two networks
def deepspeech(folder: Path, said: Recordings | None) -> None:
    """A DeepSpeech of 128 units, random or trained, in the layout of a converted checkpoint."""
    from safetensors.torch import save_file

    alphabet = sorted({*"".join(WORDS), " "})
    folder.mkdir()
    config = {"model_type": "deepspeech", "hidden_size": 128, "alphabet": alphabet}
    (folder / "config.json").write_text(json.dumps(config))
    family = DeepSpeechFamily()
    files = SourceFiles(folder, config, "path:deepspeech")
    network = DeepSpeechBackbone(family.architecture(files))
    save_file(network.state_dict(), folder / "model.safetensors")
    if said is not None:
        train(
            network,
            lambda batch: network(**batch)["logits"],
            _reader(family, files),
            said,
            epochs=30,
            rate=2e-3,
        )
        save_file(network.state_dict(), folder / "model.safetensors")


def wav2vec2(folder: Path, said: Recordings | None) -> None:
    """A Wav2Vec 2.0 of two layers with layer-normalised convolutions, random or trained, as transformers saves it."""
    from transformers import Wav2Vec2ForCTC

    labels = len({*"".join(WORDS), " "})
    sizes = {
        "conv_dim": [32, 48, 64, 64],
        "conv_kernel": [10, 8, 4, 4],
        "conv_stride": [5, 4, 4, 4],
        "num_feat_extract_layers": 4,
        "hidden_size": 64,
        "intermediate_size": 128,
        "initializer_range": 0.05,
        "vocab_size": labels + 1,
        "pad_token_id": labels,
        # With so few recordings and epochs, what is dropped is missed.
        **dict.fromkeys(DROPPED, 0.0),
    }
    make_tiny_wav2vec2(folder, seed=SEED, settings={**LAYER_NORM, **sizes})
    if said is None:
        return
    network: Any = Wav2Vec2ForCTC.from_pretrained(folder)
    files = SourceFiles(folder, json.loads((folder / "config.json").read_text()), "path:wav2vec2")
    train(
        network,
        lambda batch: network(**batch).logits,
        _reader(Wav2Vec2Family(), files),
        said,
        epochs=25,
        rate=2e-3,
    )
    network.save_pretrained(folder)


def _reader(family: BackboneFamily, files: SourceFiles) -> Preprocessor:
    """The preprocessing that will serve."""
    return open_preprocessor(family.preprocess(files), family.files(files))


def train(
    network: torch.nn.Module,
    logits_of: Callable[[dict[str, torch.Tensor]], torch.Tensor],
    reader: Preprocessor,
    said: Recordings,
    *,
    epochs: int,
    rate: float,
) -> None:
    """Connectionist temporal classification on the training recordings, blank last; batches of near lengths."""
    alphabet = sorted({*"".join(WORDS), " "})
    rows = reader.rows(said.clips[:TRAIN])
    targets = [torch.tensor([alphabet.index(c) for c in text]) for text in said.texts[:TRAIN]]
    order = sorted(range(TRAIN), key=lambda i: rows[i].length)
    batches = [order[i : i + 16] for i in range(0, TRAIN, 16)]
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, epochs * len(batches))
    random = np.random.default_rng(SEED)
    network.train()
    for _ in range(epochs):
        for place in random.permutation(len(batches)):
            chosen = batches[place]
            batch = {k: torch.from_numpy(v) for k, v in reader.collate([rows[i] for i in chosen]).items()}
            scores = logits_of(batch).log_softmax(dim=-1)
            # Frames of a row in proportion to its length: exact for cepstra, at most one off for convolutions.
            longest = max(rows[i].length for i in chosen)
            frames = torch.tensor([scores.shape[1] * rows[i].length // longest for i in chosen])
            loss = torch.nn.functional.ctc_loss(
                scores.transpose(0, 1), torch.cat([targets[i] for i in chosen]), frames,
                torch.tensor([len(targets[i]) for i in chosen]), blank=scores.shape[-1] - 1, zero_infinity=True,
            )  # fmt: skip
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    network.eval()
