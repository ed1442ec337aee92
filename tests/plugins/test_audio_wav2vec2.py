"""The Wav2Vec 2.0 family: strict loading, transformers' own numbers, and padding that changes nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from headstock.backbone.identity import weights_digest
from headstock.backbone.parity import require_parity
from headstock.errors import InvalidInput, Unsupported
from headstock.hookspecs import SourceFiles
from headstock.preprocess.audio_samples import hostile, samples
from headstock.testing import check_family
from headstock.testing.exported import Exported, export
from headstock.testing.tiny_audio import LAYER_NORM, make_tiny_wav2vec2
from headstock_audio.wav2vec2 import Wav2Vec2Family
from headstock_audio.wav2vec2.family import receptive_field

FAMILY = Wav2Vec2Family()
NORMS: dict[str, dict[str, Any]] = {"group": {}, "layer": dict(LAYER_NORM)}


def source(directory: Path) -> SourceFiles:
    return SourceFiles(directory, json.loads((directory / "config.json").read_text()), "path:tiny-wav2vec2")


def copy(files: SourceFiles, directory: Path, **changes: Any) -> SourceFiles:
    """The same checkpoint with keys of its config.json set otherwise."""
    shutil.copytree(files.root, directory)
    (directory / "config.json").write_text(json.dumps({**files.config, **changes}))
    return source(directory)


@pytest.fixture(scope="module", params=NORMS)
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SourceFiles:
    """A checkpoint with a CTC head, as base models (group norm) and as large ones (layer norm) are."""
    return source(make_tiny_wav2vec2(tmp_path_factory.mktemp("wav2vec2"), settings=NORMS[request.param]))


@pytest.fixture(scope="module")
def exported(files: SourceFiles, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(FAMILY, files, samples(), hostile(0.8), tmp_path_factory.mktemp("graph"))


def frames(exported: Exported, rows: list[int]) -> list[np.ndarray]:
    """The graph's `frames` of these rows, run as one batch, each cut to what the row has alone."""
    batch = exported.preprocessor.collate([exported.rows[i] for i in rows])
    (found,) = exported.graph.run(batch, ["frames"])
    lengths = [len(alone(exported, i)) for i in rows]
    assert all(not row[length:].any() for row, length in zip(found, lengths, strict=True))
    return [row[:length] for row, length in zip(found, lengths, strict=True)]


def alone(exported: Exported, row: int) -> np.ndarray:
    (found,) = exported.graph.run(exported.preprocessor.collate([exported.rows[row]]), ["frames"])
    return found[0]


# ---------------------------------------------------------------------------------------------- one answer
def test_a_row_alone_equals_the_row_in_any_batch(exported: Exported) -> None:
    assert exported.certificate.shared, exported.certificate.detail
    assert exported.certificate.measured == 0.0


def test_the_unfixed_network_moves_a_row_that_is_padded(
    files: SourceFiles, exported: Exported, record_property: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """What everybody else serves: transformers' network on the same padded batch, without the mask."""
    from transformers import Wav2Vec2Model

    unfixed = Wav2Vec2Model.from_pretrained(files.root).eval()
    order = [2, 11]
    batch = exported.preprocessor.collate([exported.rows[i] for i in order])
    single = exported.preprocessor.collate([exported.rows[2]])
    with torch.no_grad():
        together = unfixed(torch.from_numpy(batch["input_values"])).last_hidden_state[0].numpy()
        by_itself = unfixed(torch.from_numpy(single["input_values"])).last_hidden_state[0].numpy()
    unfixed_error = float(np.abs(together[: len(by_itself)] - by_itself).max())
    fixed_error = float(np.abs(frames(exported, order)[0] - alone(exported, 2)).max())
    record_property("unfixed", unfixed_error)
    record_property("fixed", fixed_error)
    with capsys.disabled():
        kind = files.config["feat_extract_norm"]
        print(f"\nwav2vec2 ({kind} norm), alone against padded: unfixed {unfixed_error:.3g}, ours {fixed_error:.3g}")
    assert unfixed_error > 0.1
    assert fixed_error <= 1e-4


def test_taps_of_a_row_alone_are_what_transformers_computes(files: SourceFiles, exported: Exported) -> None:
    from transformers import Wav2Vec2Model

    reference = Wav2Vec2Model.from_pretrained(files.root).eval()
    for row in exported.rows[::4]:
        values = torch.from_numpy(row.tensors["input_values"])[None]
        with torch.no_grad():
            expected = reference(values).last_hidden_state
            found = exported.module(input_values=values, attention_mask=torch.ones(values.shape, dtype=torch.int64))
        assert expected.abs().max() > 0.5
        assert (found["frames"] - expected).abs().max() < 2e-5
        assert (found["mean"] - expected.mean(dim=1)).abs().max() < 2e-5


def test_the_graph_agrees_with_torch(exported: Exported) -> None:
    require_parity(exported.parity)
    assert max(tap.max_error / max(1, tap.scale) for tap in exported.parity.values()) < 1e-5


def test_garbage_behind_the_mask_changes_nothing(exported: Exported) -> None:
    batch = exported.preprocessor.collate([exported.rows[2], exported.rows[9]])
    (clean,) = exported.graph.run(batch, ["frames"])
    batch["input_values"][batch["attention_mask"] == 0] = np.nan
    (dirty,) = exported.graph.run(batch, ["frames"])
    assert np.array_equal(clean, dirty)


def test_one_frame_is_made_of_the_receptive_field(exported: Exported) -> None:
    assert receptive_field([10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2]) == 400
    least = exported.preprocessor.spec.options["min_samples"]
    values = np.random.default_rng(0).standard_normal((1, least)).astype(np.float32)
    rows = exported.preprocessor.rows_from_tensors(
        {"input_values": values, "attention_mask": np.ones((1, least), np.int64)}
    )
    found, mean = exported.graph.run(exported.preprocessor.collate(rows), ["frames", "mean"])
    assert found.shape[1] == 1
    assert np.array_equal(found[:, 0], mean)
    with pytest.raises(InvalidInput, match=f"expected {least} to"):
        exported.preprocessor.rows_from_tensors(
            {"input_values": values[:, 1:], "attention_mask": np.ones((1, least - 1), np.int64)}
        )


# ---------------------------------------------------------------------------------------------- loading
@pytest.mark.parametrize("norm", NORMS)
def test_the_family_keeps_the_contract(norm: str, tmp_path: Path) -> None:
    # The kit's made-up rows are five steps long: convolutions that make frames of as few.
    settings = {**NORMS[norm], "conv_kernel": [2, 2, 2], "conv_stride": [1, 1, 1]}
    files = source(make_tiny_wav2vec2(tmp_path, settings=settings))
    assert [r for r in check_family(FAMILY, files) if not r.passed] == []


def test_a_checkpoint_with_or_without_its_head_is_one_backbone(files: SourceFiles, tmp_path: Path) -> None:
    norm = NORMS[files.config["feat_extract_norm"]]
    bare = source(make_tiny_wav2vec2(tmp_path, head=False, settings=norm))
    bare_state = load_file(bare.root / "model.safetensors")
    with_head = load_file(files.root / "model.safetensors")
    save_file({n: with_head[f"wav2vec2.{n}"] for n in bare_state}, bare.root / "model.safetensors")
    assert weights_digest(FAMILY.load(files)) == weights_digest(FAMILY.load(bare))
    assert FAMILY.architecture(files) == FAMILY.architecture(bare)


def test_old_names_of_the_weight_norm_load_to_the_same_weights(files: SourceFiles, tmp_path: Path) -> None:
    old = copy(files, tmp_path / "old")
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    renamed = {}
    for name, tensor in load_file(files.root / "model.safetensors").items():
        for new, older in names.items():
            name = name.replace(new, older)
        renamed[name] = tensor
    assert any(name.endswith("weight_g") for name in renamed)
    save_file(renamed, old.root / "model.safetensors")
    assert weights_digest(FAMILY.load(old)) == weights_digest(FAMILY.load(files))


def test_a_missing_or_misshapen_weight_is_named(files: SourceFiles, tmp_path: Path) -> None:
    damaged = copy(files, tmp_path / "damaged")
    tensors = load_file(files.root / "model.safetensors")
    name = "wav2vec2.encoder.layers.1.attention.q_proj.weight"
    save_file({n: t for n, t in tensors.items() if n != name}, damaged.root / "model.safetensors")
    with pytest.raises(InvalidInput, match=r"layers\.1\.attention\.q_proj\.weight"):
        FAMILY.load(damaged)
    save_file({**tensors, name: tensors[name][:3].contiguous()}, damaged.root / "model.safetensors")
    with pytest.raises(InvalidInput, match="shape"):
        FAMILY.load(damaged)


@pytest.mark.parametrize(
    "change, error, expected",
    [
        ({"add_adapter": True}, Unsupported, "add_adapter"),
        ({"adapter_attn_dim": 16}, Unsupported, "adapter_attn_dim"),
        ({"feat_extract_norm": "batch"}, InvalidInput, "'batch'"),
        ({"conv_kernel": [10, 12]}, InvalidInput, "conv_kernel"),
        ({"conv_dim": "many"}, InvalidInput, "conv_dim"),
        ({"auto_map": {"AutoModel": "evil.py"}}, InvalidInput, "auto_map"),
    ],
)
def test_configurations_beyond_the_family_are_refused(
    files: SourceFiles, tmp_path: Path, change: dict[str, Any], error: type[Exception], expected: str
) -> None:
    with pytest.raises(error, match=expected):
        FAMILY.architecture(copy(files, tmp_path / "other", **change))


def test_preprocessing_follows_the_checkpoint(files: SourceFiles, tmp_path: Path) -> None:
    assert FAMILY.preprocess(files).options["normalise"] is True
    other = copy(files, tmp_path / "other")
    path = other.root / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "do_normalize": False, "sampling_rate": 8000}))
    options = FAMILY.preprocess(other).options
    assert (options["normalise"], options["sampling_rate"]) == (False, 8000)
    assert FAMILY.preprocess(other).digest != FAMILY.preprocess(files).digest


def test_masking_for_training_is_no_part_of_the_backbone(files: SourceFiles, tmp_path: Path) -> None:
    assert any("masked_spec_embed" in name for name in load_file(files.root / "model.safetensors"))
    assert not any("masked_spec_embed" in name for name in FAMILY.load(files).state_dict())
    plain = copy(files, tmp_path / "plain", hidden_dropout=0.5, mask_time_prob=0.9)
    assert FAMILY.architecture(plain) == FAMILY.architecture(files)


def test_only_wav2vec2_is_recognised(files: SourceFiles) -> None:
    assert FAMILY.recognises(files)
    assert not FAMILY.recognises(SourceFiles(files.root, {"model_type": "wav2vec2-conformer"}, "path:x"))
