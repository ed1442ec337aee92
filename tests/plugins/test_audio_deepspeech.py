"""The DeepSpeech family against the originals: TensorFlow 1.15's operators and the native 0.9.3 client.

What they answered lies in `fixtures/deepspeech`, with the script that asked them.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from headstock.backbone.identity import weights_digest
from headstock.backbone.parity import require_parity
from headstock.ctc import beam_search, log_softmax
from headstock.errors import Corrupt, InvalidInput, NotFound, Unsupported
from headstock.hookspecs import SourceFiles
from headstock.preprocess import Preprocessor, open_preprocessor
from headstock.preprocess.audio_samples import hostile, samples
from headstock.testing import check_family
from headstock.testing.exported import Exported, export
from headstock.testing.tiny_audio import ALPHABET, make_tiny_deepspeech
from headstock_audio.commands import convert_deepspeech
from headstock_audio.deepspeech import DeepSpeechFamily
from headstock_audio.deepspeech.alphabet import read_alphabet
from headstock_audio.deepspeech.checkpoint import Checkpoint, find
from headstock_audio.deepspeech.convert import convert
from headstock_audio.deepspeech.crc32c import crc32c
from headstock_audio.deepspeech.module import DeepSpeechBackbone

FAMILY = DeepSpeechFamily()
FIXTURES = Path(__file__).parent / "fixtures" / "deepspeech"
CHECKPOINT = FIXTURES / "checkpoint"
ORIGINAL = SourceFiles(CHECKPOINT, {}, "path:checkpoint")
DATA, INDEX = "best_dev-7.data-00000-of-00001", "best_dev-7.index"


def source(directory: Path) -> SourceFiles:
    return SourceFiles(directory, json.loads((directory / "config.json").read_text()), "path:tiny-deepspeech")


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Converted checkpoints go into a cache of the test's own."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HEADSTOCK_HOME", str(folder))
    return folder


@pytest.fixture(scope="module")
def oracle() -> dict[str, np.ndarray]:
    with np.load(FIXTURES / "oracle.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="module")
def transcript() -> dict[str, Any]:
    value: dict[str, Any] = json.loads((FIXTURES / "transcript.json").read_text())
    return value


@pytest.fixture(scope="module")
def network() -> DeepSpeechBackbone:
    module = FAMILY.load(ORIGINAL)
    assert isinstance(module, DeepSpeechBackbone)
    return module


@pytest.fixture(scope="module")
def preprocessor() -> Preprocessor:
    return open_preprocessor(FAMILY.preprocess(ORIGINAL), {})


@pytest.fixture(scope="module")
def heard(preprocessor: Preprocessor) -> dict[str, np.ndarray]:
    """Our network's input for the recording that the originals heard."""
    return preprocessor.collate(preprocessor.rows([(FIXTURES / "speech.wav").read_bytes()]))


@pytest.fixture(scope="module")
def answered(network: DeepSpeechBackbone, heard: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    with torch.no_grad():
        taps = network(**{name: torch.from_numpy(value) for name, value in heard.items()})
    return {name: value[0].numpy() for name, value in taps.items()}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The original's checkpoint, converted, as the server would run it."""
    folder = tmp_path_factory.mktemp("converted")
    convert(CHECKPOINT, folder)
    return export(FAMILY, source(folder), samples(), hostile(0.8), tmp_path_factory.mktemp("graph"))


# ---------------------------------------------------------------------------------------------- against the originals
def test_features_are_those_of_tensorflow(heard: dict[str, np.ndarray], oracle: dict[str, np.ndarray]) -> None:
    expected = oracle["mfcc"]
    assert heard["features"][0].shape == expected.shape
    assert np.abs(heard["features"][0] - expected).max() <= 1e-5 * np.abs(expected).max()
    assert np.allclose(heard["features"][0], expected, rtol=1e-5, atol=1e-5)


def test_probabilities_are_those_of_tensorflow(answered: dict[str, np.ndarray], oracle: dict[str, np.ndarray]) -> None:
    assert oracle["probabilities"].max() > 0.3
    assert np.abs(np.exp(log_softmax(answered["logits"])) - oracle["probabilities"]).max() <= 1e-6
    assert np.abs(answered["frames"] - oracle["frames"]).max() <= 1e-6 * max(1.0, np.abs(oracle["frames"]).max())


def test_states_are_those_of_tensorflow_after_every_sixteen_frames(
    network: DeepSpeechBackbone, heard: dict[str, np.ndarray], oracle: dict[str, np.ndarray]
) -> None:
    for (_, c, h), expected in zip(streamed(network, heard["features"], 16), oracle["states"], strict=True):
        scale = np.abs(expected).max()
        assert np.abs(np.stack([c[0], h[0]]) - expected).max() <= 1e-6 * scale


def test_the_transcript_is_that_of_the_native_client(
    answered: dict[str, np.ndarray], transcript: dict[str, Any]
) -> None:
    alphabet = FAMILY.architecture(ORIGINAL)["alphabet"]
    candidates = transcript["candidates"]
    found = beam_search(
        log_softmax(answered["logits"]), alphabet, width=transcript["beam_width"], count=len(candidates)
    )
    assert len(transcript["transcript"]) > 20
    assert found[0].text == transcript["transcript"]
    assert [t.text for t in found] == [c["text"] for c in candidates]
    assert np.allclose([t.score for t in found], [c["confidence"] for c in candidates], atol=1e-3)


def test_the_exported_graph_transcribes_the_same(exported: Exported, transcript: dict[str, Any]) -> None:
    rows = exported.preprocessor.rows([(FIXTURES / "speech.wav").read_bytes()])
    (logits,) = exported.graph.run(exported.preprocessor.collate([*rows, *exported.rows]), ["logits"])
    own = logits[0, : len(rows[0].tensors["features"])]
    assert beam_search(log_softmax(own), ALPHABET)[0].text == transcript["transcript"]


# ---------------------------------------------------------------------------------------------- one answer
def streamed(network: DeepSpeechBackbone, features: np.ndarray, step: int) -> list[tuple[Any, Any, Any]]:
    """Logits and states of a recording [1, t, coefficients] that arrives `step` frames at a time."""
    context = network.context
    padded = torch.nn.functional.pad(torch.from_numpy(features), (0, 0, context, context))
    c = h = torch.zeros(1, network.width)
    found = []
    with torch.no_grad():
        for start in range(0, features.shape[1], step):
            stretch = padded[:, start : min(start + step, features.shape[1]) + 2 * context]
            logits, c, h = network.forward_stream(stretch, c, h)
            found.append((logits.numpy(), c.numpy(), h.numpy()))
    return found


@pytest.mark.parametrize("step", [1, 7, 16, 1000])
def test_a_recording_in_pieces_equals_the_whole(
    network: DeepSpeechBackbone, heard: dict[str, np.ndarray], answered: dict[str, np.ndarray], step: int
) -> None:
    pieces = np.concatenate([logits[0] for logits, _, _ in streamed(network, heard["features"], step)])
    whole = answered["logits"]
    assert np.abs(pieces - whole).max() <= 2e-6 * max(1.0, np.abs(whole).max())


def test_a_stream_that_forgets_its_state_is_not_the_whole(
    network: DeepSpeechBackbone, heard: dict[str, np.ndarray], answered: dict[str, np.ndarray]
) -> None:
    """The check above can fail: frames 16 to 31 begun from zero states differ."""
    padded = torch.nn.functional.pad(torch.from_numpy(heard["features"]), (0, 0, 9, 9))
    zeros = torch.zeros(1, network.width)
    with torch.no_grad():
        logits, _, _ = network.forward_stream(padded[:, 16 : 32 + 18], zeros, zeros)
    assert np.abs(logits[0].numpy() - answered["logits"][16:32]).max() > 0.1


def test_a_row_alone_equals_the_row_in_any_batch(exported: Exported) -> None:
    assert exported.certificate.shared, exported.certificate.detail
    assert exported.certificate.measured == 0.0


def test_the_graph_agrees_with_torch(exported: Exported) -> None:
    require_parity(exported.parity)
    assert max(tap.max_error / max(1, tap.scale) for tap in exported.parity.values()) < 1e-5


def test_behind_a_rows_end_there_are_zeros_whatever_stood_there(exported: Exported) -> None:
    batch = exported.preprocessor.collate([exported.rows[2], exported.rows[9]])
    length = len(exported.rows[2].tensors["features"])
    clean = exported.graph.run(batch, ["frames", "mean", "logits"])
    batch["features"][batch["attention_mask"] == 0] = np.nan
    dirty = exported.graph.run(batch, ["frames", "mean", "logits"])
    assert all(np.array_equal(one, two) for one, two in zip(clean, dirty, strict=True))
    assert not clean[0][0, length:].any()
    assert not clean[2][0, length:].any()


def test_the_family_keeps_the_contract(tmp_path: Path) -> None:
    files = source(make_tiny_deepspeech(tmp_path))
    assert [r for r in check_family(FAMILY, files) if not r.passed] == []


# ---------------------------------------------------------------------------------------------- conversion
def test_the_checkpoint_and_its_conversion_are_one_backbone(tmp_path: Path) -> None:
    convert(CHECKPOINT, tmp_path / "made")
    converted = source(tmp_path / "made")
    assert weights_digest(FAMILY.load(converted)) == weights_digest(FAMILY.load(ORIGINAL))
    assert FAMILY.architecture(converted) == FAMILY.architecture(ORIGINAL)
    assert FAMILY.preprocess(converted) == FAMILY.preprocess(ORIGINAL)


def test_files_of_a_checkpoint_are_safetensors_and_the_same_every_time(home: Path) -> None:
    kept = FAMILY.files(ORIGINAL)
    before = {role: path.read_bytes() for role, path in kept.items()}
    assert set(kept) == {"weights", "config"}
    assert all(path.is_relative_to(home) for path in kept.values())
    shutil.rmtree(home / "cache")
    assert {role: path.read_bytes() for role, path in FAMILY.files(ORIGINAL).items()} == before
    # Nothing half-written is left beside it.
    assert len(list((home / "cache" / "deepspeech").iterdir())) == 1


def test_the_command_converts_and_says_what_to_do_next(tmp_path: Path) -> None:
    result = CliRunner().invoke(convert_deepspeech, [str(CHECKPOINT), str(tmp_path / "made")])
    assert result.exit_code == 0, result.output
    assert "headstock pull path:" in result.output
    assert FAMILY.recognises(source(tmp_path / "made"))
    again = CliRunner().invoke(convert_deepspeech, [str(CHECKPOINT), str(tmp_path / "made")])
    assert isinstance(again.exception, InvalidInput)


def test_a_licence_beside_the_checkpoint_goes_along(copied: Path, tmp_path: Path) -> None:
    (copied / "LICENSE").write_text("Mozilla Public License Version 2.0")
    convert(copied, tmp_path / "made")
    assert (tmp_path / "made" / "LICENSE").read_text() == "Mozilla Public License Version 2.0"


def test_the_released_network_has_as_many_weights_as_published() -> None:
    """47,224,861 by the sizes of the paper trail, and torch's second bias of the LSTM, which is zero."""
    config = {"model_type": "deepspeech", "hidden_size": 2048, "alphabet": list(ALPHABET)}
    with torch.device("meta"):
        module = DeepSpeechBackbone(FAMILY.architecture(SourceFiles(Path("nowhere"), config, "path:x")))
    assert sum(p.numel() for p in module.parameters()) == 47_224_861 + 4 * 2048


def test_what_is_recognised() -> None:
    assert FAMILY.recognises(ORIGINAL)
    assert FAMILY.recognises(SourceFiles(Path("nowhere"), {"model_type": "deepspeech"}, "path:x"))
    assert not FAMILY.recognises(SourceFiles(CHECKPOINT, {"model_type": "bert"}, "path:x"))
    assert not FAMILY.recognises(SourceFiles(FIXTURES, {}, "path:x"))


# ---------------------------------------------------------------------------------------------- damaged checkpoints
@pytest.fixture
def copied(tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(CHECKPOINT, folder)
    return folder


def load(folder: Path) -> torch.nn.Module:
    return FAMILY.load(SourceFiles(folder, {}, "path:copy"))


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_a_flipped_bit_in_the_weights_is_found(copied: Path) -> None:
    flip(copied / DATA, 12_345)
    with pytest.raises(Corrupt, match="checksum"):
        load(copied)


def test_no_flipped_bit_in_the_index_goes_unnoticed(copied: Path) -> None:
    """Every byte that is read is covered by a checksum, bounds the reading, or names a tensor that is then missing."""
    expected = weights_digest(FAMILY.load(ORIGINAL))
    original = (copied / INDEX).read_bytes()
    for position in range(0, len(original), 5):
        (copied / INDEX).write_bytes(original)
        flip(copied / INDEX, position)
        try:
            found = weights_digest(load(copied))
        except (Corrupt, Unsupported, InvalidInput, NotFound):
            continue
        # Only padding of the footer and the unused meta-index may change without harm.
        assert found == expected


@pytest.mark.parametrize("size", [0, 10, 47, 300])
def test_a_cut_index_is_found(copied: Path, size: int) -> None:
    (copied / INDEX).write_bytes((copied / INDEX).read_bytes()[:size])
    with pytest.raises(Corrupt, match="index"):
        load(copied)


def test_a_cut_data_file_is_found(copied: Path) -> None:
    (copied / DATA).write_bytes((copied / DATA).read_bytes()[:100_000])
    with pytest.raises(Corrupt, match="ends at byte 100000"):
        load(copied)


def test_missing_files_are_named(copied: Path) -> None:
    (copied / DATA).unlink()
    with pytest.raises(NotFound, match="data-00000-of-00001"):
        load(copied)


def test_a_checkpoint_without_its_alphabet_says_where_it_is(copied: Path) -> None:
    (copied / "alphabet.txt").unlink()
    assert FAMILY.recognises(SourceFiles(copied, {}, "path:copy"))
    with pytest.raises(InvalidInput, match=r"alphabet\.txt.*try: copy"):
        load(copied)


def test_an_alphabet_of_another_size_is_refused(copied: Path) -> None:
    (copied / "alphabet.txt").write_text("a\nb\n")
    with pytest.raises(InvalidInput, match=r"29 outputs .* 2 labels"):
        load(copied)


def test_the_state_file_decides_among_several_checkpoints(copied: Path) -> None:
    for part in (INDEX, DATA):
        shutil.copy(copied / part, copied / part.replace("-7", "-9"))
    assert find(copied).name == "best_dev-7"
    # Written on another machine, by its full path.
    (copied / "best_dev_checkpoint").write_text('model_checkpoint_path: "/data/run/best_dev-9"\n')
    assert find(copied).name == "best_dev-9"
    (copied / "best_dev_checkpoint").unlink()
    with pytest.raises(InvalidInput, match="several"):
        find(copied)


def test_tensors_that_are_not_asked_for_are_listed_and_left_alone() -> None:
    checkpoint = Checkpoint(find(CHECKPOINT))
    assert "global_step" in checkpoint
    assert checkpoint.read("global_step") == 0
    assert checkpoint.entries["layer_1/weights"].shape == (494, 48)
    with pytest.raises(NotFound, match="layer_4"):
        checkpoint.read("layer_4/weights")


def test_alphabets_are_read_as_the_original_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "alphabet.txt"
    path.write_text("# comment\n \na\nü\n\\#\n'\n# end\n", encoding="utf-8")
    assert read_alphabet(path) == [" ", "a", "ü", "#", "'"]
    assert read_alphabet(CHECKPOINT / "alphabet.txt") == list(ALPHABET)
    path.write_text("a\nb\na\n")
    with pytest.raises(InvalidInput, match="'a' twice"):
        read_alphabet(path)
    path.write_text("# nothing\n")
    with pytest.raises(InvalidInput, match="0 labels"):
        read_alphabet(path)


def test_checksums_are_the_standard_ones() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    # Around the boundaries between stretches, against one octet at a time.
    data = np.random.default_rng(0).integers(0, 256, 3 * 4096 + 5, np.uint8).tobytes()
    for size in (0, 1, 4095, 4096, 4097, 8192, len(data)):
        assert crc32c(data[:size]) == plain_crc32c(data[:size])


def plain_crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for octet in data:
        crc ^= octet
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_outputs_follow_the_alphabet_of_any_language(tmp_path: Path) -> None:
    files = source(make_tiny_deepspeech(tmp_path / "made", alphabet=(" ", "ä", "б", "字")))
    assert FAMILY.taps(FAMILY.load(files))[2].shape == (-1, -1, 5)
