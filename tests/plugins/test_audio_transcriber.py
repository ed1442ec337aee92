"""`headstock transcriber`: a checkpoint's own output layer, answering what transformers answers, without training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from headstock.catalogue import Catalogue
from headstock.cli.main import cli
from headstock.errors import InvalidInput
from headstock.names import Reference
from headstock.predictor import Predictor
from headstock.preprocess.audio_samples import RATE, encode, voice
from headstock.settings import Settings
from headstock.testing.tiny_audio import make_tiny_deepspeech, make_tiny_wav2vec2

TOKENS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]


def run(home: Path, *arguments: str) -> Result:
    return CliRunner(env={"HEADSTOCK_HOME": str(home)}).invoke(cli, arguments)


def ok(home: Path, *arguments: str) -> str:
    result = run(home, *arguments)
    assert result.exception is None, result.output
    return result.output


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Wav2Vec2 with its vocabulary and a random DeepSpeech, both pulled into `home`."""
    root = tmp_path_factory.mktemp("transcriber")
    make_tiny_wav2vec2(root / "wav2vec2", settings={"num_hidden_layers": 1})
    (root / "wav2vec2" / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(TOKENS)}))
    make_tiny_deepspeech(root / "deepspeech")
    for name in ("wav2vec2", "deepspeech"):
        ok(root / "home", "pull", f"path:{root / name}", "--name", name)
        ok(root / "home", "transcriber", "--backbone", name, "--name", f"{name}-says")
    return root


def answers(home: Path, model: str, sounds: list[bytes]) -> dict[str, Any]:
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(home)})) as catalogue:
        return Predictor.open(catalogue, Reference(model)).predict(sounds).outputs


def test_wav2vec2_answers_as_transformers_does(root: Path) -> None:
    """The same logits but for the blank's place, and the text that transformers' tokenizer makes of its best path."""
    from transformers import AutoFeatureExtractor, Wav2Vec2CTCTokenizer, Wav2Vec2ForCTC

    network: Any = Wav2Vec2ForCTC.from_pretrained(root / "wav2vec2").eval()
    reader = AutoFeatureExtractor.from_pretrained(root / "wav2vec2")
    tokenizer = Wav2Vec2CTCTokenizer(str(root / "wav2vec2" / "vocab.json"))
    sounds = [voice(0.5, seed) for seed in (1, 2, 3)]
    found = answers(root / "home", "wav2vec2-says", [encode(sound) for sound in sounds])
    for row, sound in enumerate(sounds):
        heard = np.round(sound * 32767) / 32768
        with torch.no_grad():
            logits = network(**reader(heard, sampling_rate=RATE, return_tensors="pt")).logits[0].numpy()
        assert found["lengths"][row] == len(logits)
        blank_last = np.concatenate([logits[:, 1:], logits[:, :1]], axis=1)
        assert np.abs(found["logits"][row, : len(logits)] - blank_last).max() <= 1e-4
        assert np.ravel(found["text"])[row].decode() == tokenizer.decode(logits.argmax(axis=1))
    assert any(np.ravel(found["text"]))


def test_deepspeech_answers_with_its_own_alphabet(root: Path) -> None:
    found = answers(root / "home", "deepspeech-says", [encode(voice(0.5, 1))])
    assert set(np.ravel(found["text"])[0].decode()) <= set("abcdefghijklmnopqrstuvwxyz' ")
    shown = ok(root / "home", "show", "deepspeech-says")
    assert "speech-recognition" in shown


def test_both_share_the_pulled_backbone_with_any_other_head(root: Path) -> None:
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(root / "home")})) as catalogue:
        model = catalogue.artefact(catalogue.version(Reference("wav2vec2-says")).subject)
        assert model.identity["backbone"] == catalogue.version(Reference("wav2vec2")).subject
        assert not catalogue.verify().problems


def test_a_checkpoint_without_vocabulary_or_without_output_layer_is_named(root: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for name, missing in (("mute", "vocab.json"), ("headless", "lm_head.weight")):
        folder = Path(shutil.copytree(root / "wav2vec2", tmp_path / name))
        weights = load_file(folder / "model.safetensors")
        # Weights of its own: the same ones would be the backbone that is known already.
        weights["wav2vec2.encoder.layer_norm.bias"] += len(name)
        if missing == "vocab.json":
            (folder / missing).unlink()
        else:
            del weights[missing]
        save_file(weights, folder / "model.safetensors")
        ok(root / "home", "pull", f"path:{folder}", "--name", name)
        error = run(root / "home", "transcriber", "--backbone", name, "--name", "never").exception
        assert isinstance(error, InvalidInput)
        assert missing in error.message
