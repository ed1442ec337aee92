"""The ViT family: both spellings of its weights, taps that need no pooler, and one answer."""

from __future__ import annotations

import io
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
from headstock.errors import InvalidInput
from headstock.hookspecs import SourceFiles
from headstock.preprocess import open_preprocessor
from headstock.preprocess.image_samples import hostile, samples
from headstock.testing import check_family
from headstock.testing.exported import Exported, export
from headstock.testing.tiny_vision import SIZE, make_tiny_vit
from headstock_vision.vit import VitFamily

FAMILY = VitFamily()


def source(directory: Path) -> SourceFiles:
    return SourceFiles(directory, json.loads((directory / "config.json").read_text()), "path:tiny-vit")


def with_processor(files: SourceFiles, directory: Path, stated: dict[str, Any]) -> SourceFiles:
    shutil.copytree(files.root, directory)
    (directory / "preprocessor_config.json").write_text(json.dumps(stated))
    return source(directory)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> SourceFiles:
    return source(make_tiny_vit(tmp_path_factory.mktemp("vit")))


@pytest.fixture(scope="module")
def exported(files: SourceFiles, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(FAMILY, files, samples(), hostile(), tmp_path_factory.mktemp("graph"))


def test_the_family_keeps_the_contract(files: SourceFiles) -> None:
    assert [r for r in check_family(FAMILY, files) if not r.passed] == []


def test_taps_are_what_transformers_computes(files: SourceFiles) -> None:
    from transformers import ViTModel

    reference = ViTModel.from_pretrained(files.root, add_pooling_layer=False).eval()
    pixels = torch.randn(3, 3, SIZE, SIZE)
    with torch.no_grad():
        tokens, found = reference(pixels).last_hidden_state, FAMILY.load(files)(pixel_values=pixels)
    torch.testing.assert_close(found["tokens"], tokens, rtol=0, atol=1e-6)
    torch.testing.assert_close(found["cls"], tokens[:, 0], rtol=0, atol=1e-6)
    torch.testing.assert_close(found["pooled"], tokens[:, 1:].mean(dim=1), rtol=0, atol=1e-6)
    assert found["pooled"].abs().max() > 1e-2


def test_the_feature_map_is_the_patches_in_reading_order(tmp_path: Path) -> None:
    """With weak attention a change in the lower left corner of the picture changes the lower left patch most."""
    module = FAMILY.load(source(make_tiny_vit(tmp_path, settings={"initializer_range": 0.05})))
    pixels = torch.zeros(2, 3, SIZE, SIZE)
    pixels[1, :, -8:, :8] = 3.0
    with torch.no_grad():
        taps = module(pixel_values=pixels)
    moved = (taps["feature_map"][1] - taps["feature_map"][0]).norm(dim=-1)
    assert moved.shape == (4, 4)
    assert moved.argmax() == 3 * 4
    assert torch.equal(taps["feature_map"].flatten(1, 2), taps["tokens"][:, 1:])


def test_old_and_new_names_of_the_weights_are_one_backbone(files: SourceFiles, tmp_path: Path) -> None:
    from transformers import ViTModel

    new = shutil.copytree(files.root, tmp_path / "new")
    state = ViTModel.from_pretrained(files.root, add_pooling_layer=False).state_dict()
    assert any(name.startswith("layers.0.attention.q_proj") for name in state)
    assert any("encoder.layer.0.attention.attention.query" in n for n in load_file(files.root / "model.safetensors"))
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, new / "model.safetensors")
    assert weights_digest(FAMILY.load(source(new))) == weights_digest(FAMILY.load(files))


def test_a_pooler_is_left_out_whether_trained_or_not(files: SourceFiles, tmp_path: Path) -> None:
    bare = source(make_tiny_vit(tmp_path, head=False))
    assert "pooler.dense.weight" in load_file(bare.root / "model.safetensors")
    assert not any("pooler" in name for name in FAMILY.load(bare).state_dict())


def test_the_graph_agrees_with_torch(exported: Exported) -> None:
    require_parity(exported.parity)
    assert max(tap.max_error / max(1, tap.scale) for tap in exported.parity.values()) < 1e-5


def test_a_row_alone_equals_the_row_in_any_batch(exported: Exported) -> None:
    assert exported.certificate.shared
    assert exported.difference_by_batch_size() == dict.fromkeys(range(1, 9), 0.0)


def test_groups_run_from_the_patches_to_the_last_norm(files: SourceFiles) -> None:
    names = [group.name for group in FAMILY.layer_groups(FAMILY.load(files))]
    assert names == ["embeddings", "layer.0", "layer.1", "norm"]


@pytest.mark.parametrize(
    "stated",
    [
        pytest.param({"size": 32, "feature_extractor_type": "ViTFeatureExtractor"}, id="as published in 2021"),
        pytest.param({"size": 32}, id="without a name"),
        pytest.param({"size": {"height": 32, "width": 32}, "do_rescale": False}, id="not rescaled"),
        pytest.param({"size": 32, "do_normalize": False, "resample": 3}, id="not normalised"),
    ],
)
def test_pixels_equal_those_of_its_image_processor(stated: dict[str, Any], files: SourceFiles, tmp_path: Path) -> None:
    from PIL import Image
    from sklearn.datasets import load_sample_images
    from transformers import ViTImageProcessorPil

    other = with_processor(files, tmp_path / "other", stated)
    processor = ViTImageProcessorPil.from_pretrained(other.root)
    opened = open_preprocessor(FAMILY.preprocess(other), {})
    for photo in load_sample_images().images:
        file = io.BytesIO()
        Image.fromarray(photo).save(file, "PNG")
        expected = processor(images=Image.fromarray(photo), return_tensors="np")["pixel_values"][0]
        found = opened.rows([file.getvalue()])[0].tensors["pixel_values"]
        assert float(np.abs(found - expected).max()) <= 1e-5


def test_pixels_of_another_size_than_the_positions_are_refused(files: SourceFiles, tmp_path: Path) -> None:
    other = with_processor(files, tmp_path / "other", {"size": 64})
    with pytest.raises(InvalidInput, match=r"positions for 32 x 32 pixels but its image processor makes 64 x 64"):
        FAMILY.load(other)


def test_a_missing_layer_is_refused(files: SourceFiles, tmp_path: Path) -> None:
    other = source(Path(shutil.copytree(files.root, tmp_path / "other")))
    kept = {n: t for n, t in load_file(other.root / "model.safetensors").items() if "layer.1." not in n}
    save_file(kept, other.root / "model.safetensors")
    with pytest.raises(InvalidInput, match="lacks 16 weights"):
        FAMILY.load(other)
