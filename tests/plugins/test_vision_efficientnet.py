"""The EfficientNet family: its own pooling replaced by an equal one, Keras' second normalisation, and one answer."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headstock.backbone.identity import weights_digest
from headstock.backbone.parity import require_parity
from headstock.errors import InvalidInput, Unsupported
from headstock.hookspecs import SourceFiles
from headstock.preprocess import open_preprocessor
from headstock.preprocess.image_samples import hostile, samples
from headstock.testing import check_family
from headstock.testing.exported import Exported, export
from headstock.testing.tiny_vision import SIZE, make_tiny_efficientnet
from headstock_vision.efficientnet import EfficientNetFamily

FAMILY = EfficientNetFamily()


def source(directory: Path) -> SourceFiles:
    return SourceFiles(directory, json.loads((directory / "config.json").read_text()), "path:tiny-efficientnet")


def with_processor(files: SourceFiles, directory: Path, stated: dict[str, Any]) -> SourceFiles:
    shutil.copytree(files.root, directory)
    (directory / "preprocessor_config.json").write_text(json.dumps(stated))
    return source(directory)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> SourceFiles:
    return source(make_tiny_efficientnet(tmp_path_factory.mktemp("efficientnet")))


@pytest.fixture(scope="module")
def exported(files: SourceFiles, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(FAMILY, files, samples(), hostile(), tmp_path_factory.mktemp("graph"))


def test_the_family_keeps_the_contract(files: SourceFiles) -> None:
    assert [r for r in check_family(FAMILY, files) if not r.passed] == []


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_pooling_equals_the_checkpoints_own(pooling: str, tmp_path: Path) -> None:
    from transformers import EfficientNetModel

    files = source(make_tiny_efficientnet(tmp_path, settings={"pooling_type": pooling}))
    reference = EfficientNetModel.from_pretrained(files.root).eval()
    pixels = torch.randn(3, 3, SIZE, SIZE)
    with torch.no_grad():
        expected, found = reference(pixels), FAMILY.load(files)(pixel_values=pixels)
    # Two modules in one process: convolutions may sum in another order where their memory lies otherwise.
    torch.testing.assert_close(found["feature_map"].permute(0, 3, 1, 2), expected.last_hidden_state, rtol=0, atol=1e-5)
    torch.testing.assert_close(found["pooled"], expected.pooler_output, rtol=0, atol=1e-6)
    assert found["pooled"].abs().max() > 1e-2


def test_an_odd_feature_map_pools_as_transformers_does(files: SourceFiles, tmp_path: Path) -> None:
    """The window of `hidden_dim` pixels hangs over the edge of a 7 x 5 map, and counts only what is there."""
    from transformers import EfficientNetModel

    stated = {"image_processor_type": "EfficientNetImageProcessor", "size": {"height": 56, "width": 40}}
    other = with_processor(files, tmp_path / "odd", stated)
    pixels = torch.randn(2, 3, 56, 40)
    with torch.no_grad():
        found = FAMILY.load(other)(pixel_values=pixels)
        expected = EfficientNetModel.from_pretrained(files.root).eval()(pixels)
    assert found["feature_map"].shape == (2, 7, 5, 24)
    torch.testing.assert_close(found["pooled"], expected.pooler_output, rtol=0, atol=1e-6)


def test_the_graph_agrees_with_torch(exported: Exported) -> None:
    require_parity(exported.parity)
    assert max(tap.max_error / max(1, tap.scale) for tap in exported.parity.values()) < 1e-5


def test_a_row_alone_equals_the_row_in_any_batch(exported: Exported) -> None:
    assert exported.certificate.shared
    assert exported.difference_by_batch_size() == dict.fromkeys(range(1, 9), 0.0)


def test_pictures_make_a_difference(exported: Exported) -> None:
    """Freshly drawn by transformers the network would answer 1e-44 to everything."""
    outputs = exported.graph.run(exported.preprocessor.collate(exported.rows), ["pooled"])[0]
    assert np.ptp(outputs, axis=0).max() > 1e-1


@pytest.mark.parametrize(
    "stated",
    [
        pytest.param({}, id="as saved"),
        pytest.param({"include_top": False}, id="normalised once"),
        pytest.param({"rescale_offset": True, "rescale_factor": 1 / 127.5}, id="offset"),
        pytest.param({"resample": 0, "image_std": [0.47853944, 0.4732864, 0.47434163]}, id="as B0 was published"),
        pytest.param({"do_center_crop": True, "crop_size": {"height": 24, "width": 20}}, id="cropped"),
        pytest.param({"do_normalize": False}, id="only the second normalisation"),
    ],
)
def test_pixels_equal_those_of_its_image_processor(stated: dict[str, Any], files: SourceFiles, tmp_path: Path) -> None:
    from PIL import Image
    from sklearn.datasets import load_sample_images
    from transformers import EfficientNetImageProcessorPil

    EfficientNetImageProcessorPil(size={"height": 40, "width": 48}, **stated).save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "preprocessor_config.json").read_text())
    other = with_processor(files, tmp_path / "other", saved)
    processor = EfficientNetImageProcessorPil.from_pretrained(other.root)
    opened = open_preprocessor(FAMILY.preprocess(other), {})
    for photo in load_sample_images().images:
        file = io.BytesIO()
        Image.fromarray(photo).save(file, "PNG")
        expected = processor(images=Image.fromarray(photo), return_tensors="np")["pixel_values"][0]
        found = opened.rows([file.getvalue()])[0].tensors["pixel_values"]
        assert float(np.abs(found - expected).max()) <= 1e-5


def test_a_processor_file_of_just_a_name_means_that_processors_defaults(files: SourceFiles, tmp_path: Path) -> None:
    from PIL import Image
    from transformers import EfficientNetImageProcessorPil

    other = with_processor(files, tmp_path / "other", {"image_processor_type": "EfficientNetImageProcessorFast"})
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 50, 3), dtype=np.uint8))
    file = io.BytesIO()
    picture.save(file, "PNG")
    expected = EfficientNetImageProcessorPil()(images=picture, return_tensors="np")["pixel_values"][0]
    found = open_preprocessor(FAMILY.preprocess(other), {}).rows([file.getvalue()])[0].tensors["pixel_values"]
    assert float(np.abs(found - expected).max()) <= 1e-5


def test_groups_follow_the_stages_and_every_block_of_a_stage(files: SourceFiles) -> None:
    groups = {group.name: group.prefixes for group in FAMILY.layer_groups(FAMILY.load(files))}
    assert list(groups) == ["stem", "stage.0", "stage.1", "stage.2", "top"]
    assert len(groups["stage.1"]) == 2


def test_statistics_of_batch_norm_are_part_of_the_digest(files: SourceFiles) -> None:
    module = FAMILY.load(files)
    before = weights_digest(module)
    module.get_buffer("efficientnet.encoder.top_bn.running_var").mul_(1.01)
    assert weights_digest(module) != before


def test_a_width_that_contradicts_the_pooling_is_refused(tmp_path: Path) -> None:
    """transformers' defaults mix B7's width with any `hidden_dim`: the last normalisation would fail deep inside."""
    directory = make_tiny_efficientnet(tmp_path)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "hidden_dim": 1280}))
    with pytest.raises(InvalidInput, match="hidden_dim 1280 but its width_coefficient makes it 24"):
        FAMILY.load(source(directory))


@pytest.mark.parametrize(
    "stated, error",
    [
        ({"image_processor_type": "PerceiverImageProcessor"}, Unsupported),
        ({"do_resize": False}, Unsupported),
        ({"do_pad": True}, Unsupported),
        ({"resample": 9}, InvalidInput),
        ({"size": {"longest_edge": 9}}, InvalidInput),
        ({"do_center_crop": True, "crop_size": 400}, InvalidInput),
    ],
)
def test_an_image_processor_that_cannot_be_followed_is_refused(
    stated: dict[str, Any], error: type[Exception], files: SourceFiles, tmp_path: Path
) -> None:
    with pytest.raises(error):
        FAMILY.preprocess(with_processor(files, tmp_path / "other", stated))
