"""The ResNet family: strict loading, channels-last taps, statistics that stay, and one answer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from headstock.backbone.identity import identify, weights_digest
from headstock.backbone.parity import require_parity
from headstock.errors import InvalidInput
from headstock.hookspecs import SourceFiles
from headstock.preprocess.image_samples import hostile, samples
from headstock.testing import check_family
from headstock.testing.exported import Exported, export
from headstock.testing.tiny_vision import SIZE, make_tiny_resnet
from headstock_vision.resnet import ResNetFamily

FAMILY = ResNetFamily()


def source(directory: Path) -> SourceFiles:
    return SourceFiles(directory, json.loads((directory / "config.json").read_text()), "path:tiny-resnet")


def copy(files: SourceFiles, directory: Path, **changes: Any) -> SourceFiles:
    """The same checkpoint with keys of its config.json set otherwise."""
    shutil.copytree(files.root, directory)
    (directory / "config.json").write_text(json.dumps({**files.config, **changes}))
    return source(directory)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> SourceFiles:
    return source(make_tiny_resnet(tmp_path_factory.mktemp("resnet")))


@pytest.fixture(scope="module")
def exported(files: SourceFiles, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(FAMILY, files, samples(), hostile(), tmp_path_factory.mktemp("graph"))


def test_the_family_keeps_the_contract(files: SourceFiles) -> None:
    assert [r for r in check_family(FAMILY, files) if not r.passed] == []


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"layer_type": "basic", "hidden_sizes": [8, 16], "depths": [1, 1]}, id="resnet-18 blocks"),
        pytest.param({"downsample_in_bottleneck": True}, id="v1 stride"),
        pytest.param({"downsample_in_first_stage": True}, id="early stride"),
        pytest.param({"num_channels": 1}, id="grey"),
    ],
)
def test_variants_keep_the_contract(settings: dict[str, Any], tmp_path: Path) -> None:
    files = source(make_tiny_resnet(tmp_path, settings=settings))
    assert [r for r in check_family(FAMILY, files) if not r.passed] == []


def test_taps_are_what_transformers_computes(files: SourceFiles) -> None:
    from transformers import ResNetModel

    reference = ResNetModel.from_pretrained(files.root).eval()
    pixels = torch.randn(3, 3, SIZE, SIZE)
    with torch.no_grad():
        expected, found = reference(pixels), FAMILY.load(files)(pixel_values=pixels)
    assert torch.equal(found["feature_map"].permute(0, 3, 1, 2), expected.last_hidden_state)
    assert torch.equal(found["pooled"], expected.pooler_output[:, :, 0, 0])
    assert found["pooled"].abs().max() > 1e-2


def test_a_checkpoint_with_or_without_its_classifier_is_one_backbone(files: SourceFiles, tmp_path: Path) -> None:
    bare = copy(files, tmp_path / "bare")
    tensors = {name: t for name, t in load_file(files.root / "model.safetensors").items() if "classifier" not in name}
    assert all(name.startswith("resnet.") for name in tensors)
    save_file({n.removeprefix("resnet."): t for n, t in tensors.items()}, bare.root / "model.safetensors")
    with_head, without = FAMILY.load(files), FAMILY.load(bare)
    assert weights_digest(with_head) == weights_digest(without)


def test_the_graph_agrees_with_torch(exported: Exported) -> None:
    require_parity(exported.parity)
    assert max(tap.max_error / max(1, tap.scale) for tap in exported.parity.values()) < 1e-5


def test_a_row_alone_equals_the_row_in_any_batch(exported: Exported) -> None:
    assert exported.certificate.shared
    assert exported.difference_by_batch_size() == dict.fromkeys(range(1, 9), 0.0)


def test_statistics_of_batch_norm_are_part_of_the_digest(files: SourceFiles) -> None:
    module = FAMILY.load(files)
    before = weights_digest(module)
    name = next(name for name, _ in module.named_buffers() if name.endswith("running_mean"))
    module.get_buffer(name).add_(1e-3)
    assert weights_digest(module) != before


def test_answering_moves_no_statistics(files: SourceFiles) -> None:
    module = FAMILY.load(files)
    before = weights_digest(module)
    with torch.no_grad():
        module(pixel_values=torch.randn(4, 3, SIZE, SIZE))
    assert weights_digest(module) == before


def test_crop_and_normalisation_are_part_of_the_identity(files: SourceFiles, tmp_path: Path) -> None:
    other = copy(files, tmp_path / "other")
    stated = json.loads((other.root / "preprocessor_config.json").read_text())
    (other.root / "preprocessor_config.json").write_text(json.dumps({**stated, "crop_pct": 0.95}))
    module = FAMILY.load(files)
    one, two = (identify(FAMILY, f, module, FAMILY.preprocess(f)) for f in (files, other))
    assert one.weights == two.weights
    assert one.preprocess != two.preprocess


def test_groups_run_from_the_stem_to_the_last_stage(files: SourceFiles) -> None:
    names = [group.name for group in FAMILY.layer_groups(FAMILY.load(files))]
    assert names == ["stem", "stage.0", "stage.1", "stage.2"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"depths": [1, 3, 1]}, "lacks 18 weights"),
        ({"depths": [1, 1, 1]}, "has 18 weights"),
        ({"hidden_sizes": [16, 16, 64]}, "has shape"),
        ({"depths": "1,2,1"}, "depths = '1,2,1'; expected a list of integers"),
        ({"embedding_size": 8.5}, "embedding_size = 8.5; expected int"),
        ({"hidden_act": "explode"}, "describes no network"),
        ({"auto_map": {"AutoModel": "evil.Model"}}, "chooses code to run"),
    ],
)
def test_a_configuration_that_does_not_fit_its_weights_is_refused(
    files: SourceFiles, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        FAMILY.load(copy(files, tmp_path / "changed", **changes))


def test_a_weight_that_belongs_to_nothing_is_refused(files: SourceFiles, tmp_path: Path) -> None:
    other = copy(files, tmp_path / "other")
    tensors = load_file(other.root / "model.safetensors")
    save_file({**tensors, "attention.weight": torch.ones(2)}, other.root / "model.safetensors")
    with pytest.raises(InvalidInput, match=r"has 1 weight \(attention.weight\)"):
        FAMILY.load(other)


def test_without_its_image_processor_a_checkpoint_is_refused(files: SourceFiles, tmp_path: Path) -> None:
    other = copy(files, tmp_path / "other")
    (other.root / "preprocessor_config.json").unlink()
    with pytest.raises(InvalidInput, match=r"no preprocessor_config.json: size, crop and normalisation"):
        FAMILY.preprocess(other)


def test_other_families_are_not_recognised(tmp_path: Path) -> None:
    for config in ({"model_type": "vit"}, {"architecture": "vgg16"}, {"architecture": 5}, {}):
        assert not FAMILY.recognises(SourceFiles(tmp_path, config, "path:x"))
