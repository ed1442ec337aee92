"""The VGG family: timm's files read strictly without timm, both classic taps, and one answer in torch and ONNX."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from headstock.backbone.parity import require_parity
from headstock.errors import InvalidInput, Unsupported
from headstock.hookspecs import SourceFiles
from headstock.preprocess.image_samples import hostile, samples
from headstock.testing import check_family
from headstock.testing.exported import Exported, export
from headstock.testing.tiny_vision import SIZE, make_tiny_vgg
from headstock_vision.vgg import VggFamily
from headstock_vision.vgg.module import VggBackbone

FAMILY = VggFamily()


def source(directory: Path) -> SourceFiles:
    return SourceFiles(directory, json.loads((directory / "config.json").read_text()), "path:tiny-vgg")


def changed(files: SourceFiles, directory: Path, **changes: Any) -> SourceFiles:
    shutil.copytree(files.root, directory)
    (directory / "config.json").write_text(json.dumps({**files.config, **changes}))
    return source(directory)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> SourceFiles:
    return source(make_tiny_vgg(tmp_path_factory.mktemp("vgg")))


@pytest.fixture(scope="module")
def exported(files: SourceFiles, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(FAMILY, files, samples(), hostile(), tmp_path_factory.mktemp("graph"))


@pytest.mark.parametrize("batch_norm", [True, False])
def test_the_family_keeps_the_contract(batch_norm: bool, tmp_path: Path) -> None:
    files = source(make_tiny_vgg(tmp_path, batch_norm=batch_norm))
    assert [r for r in check_family(FAMILY, files) if not r.passed] == []


def test_taps_are_pooled_convolutions_and_the_second_fully_connected_layer(files: SourceFiles) -> None:
    """Computed here with the weights under timm's names, layer by layer."""
    weights = load_file(files.root / "model.safetensors")
    pixels = torch.randn(2, 3, 2 * SIZE, 2 * SIZE)
    hidden = pixels
    for convolution in (0, 4, 8):
        norm = f"features.{convolution + 1}."
        hidden = torch.nn.functional.conv2d(
            hidden,
            weights[f"features.{convolution}.weight"],
            weights[f"features.{convolution}.bias"],
            padding=1,
        )
        statistics = (weights[norm + "running_mean"], weights[norm + "running_var"])
        hidden = torch.nn.functional.batch_norm(hidden, *statistics, weights[norm + "weight"], weights[norm + "bias"])
        hidden = torch.nn.functional.max_pool2d(torch.relu(hidden), 2)
    answer = hidden
    for layer in ("fc1", "fc2"):
        answer = torch.nn.functional.conv2d(
            answer, weights[f"pre_logits.{layer}.weight"], weights[f"pre_logits.{layer}.bias"]
        )
        answer = torch.relu(answer)
    with torch.no_grad():
        found = FAMILY.load(files)(pixel_values=pixels)
    torch.testing.assert_close(found["feature_map"], hidden.permute(0, 2, 3, 1))
    torch.testing.assert_close(found["pooled"], hidden.mean(dim=(2, 3)))
    torch.testing.assert_close(found["fc7"], answer.mean(dim=(2, 3)))
    assert found["fc7"].abs().max() > 1e-2


@pytest.mark.parametrize(
    "architecture, parameters, stages",
    [
        ("vgg11", 128_766_336, 5),
        ("vgg11_bn", 128_771_840, 5),
        ("vgg13_bn", 128_956_736, 5),
        ("vgg16", 134_260_544, 5),
        ("vgg16_bn", 134_268_992, 5),
        ("vgg19", 139_570_240, 5),
    ],
)
def test_published_sizes_have_the_published_number_of_parameters(
    architecture: str, parameters: int, stages: int, tmp_path: Path
) -> None:
    """The published counts less the classifier of 4096 x 1000 + 1000."""
    config = {"input_size": [3, 224, 224], "crop_pct": 0.875, "interpolation": "bilinear", "mean": [0.5] * 3}
    files = SourceFiles(
        tmp_path, {"architecture": architecture, "pretrained_cfg": {**config, "std": [0.5] * 3}}, "hf:timm/x"
    )
    with torch.device("meta"):
        network = VggBackbone(FAMILY.architecture(files), (224, 224))
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert len(network.stages) == stages


def test_the_graph_agrees_with_torch(exported: Exported) -> None:
    require_parity(exported.parity)
    assert max(tap.max_error / max(1, tap.scale) for tap in exported.parity.values()) < 1e-5


def test_a_row_alone_equals_the_row_in_any_batch(exported: Exported) -> None:
    assert exported.certificate.shared
    assert exported.difference_by_batch_size() == dict.fromkeys(range(1, 9), 0.0)


def test_pictures_are_cut_as_pretrained_cfg_says(files: SourceFiles, tmp_path: Path) -> None:
    assert FAMILY.preprocess(files).options["size"] == {"shortest_edge": 73}
    assert FAMILY.preprocess(files).options["crop"] == [64, 64]
    assert FAMILY.preprocess(files).options["crop_rounding"] == "half-even"
    squashed = {
        **files.config["pretrained_cfg"],
        "crop_mode": "squash",
        "interpolation": "bicubic",
        "crop_pct": 1.0,
    }
    other = FAMILY.preprocess(changed(files, tmp_path / "other", pretrained_cfg=squashed))
    assert other.options["size"] == {"height": 64, "width": 64}
    assert other.options["interpolation"] == "bicubic"


def test_groups_lie_between_the_poolings_and_end_with_the_fully_connected_layers(files: SourceFiles) -> None:
    groups = {group.name: group.prefixes for group in FAMILY.layer_groups(FAMILY.load(files))}
    assert list(groups) == ["stage.0", "stage.1", "stage.2", "fc"]
    assert groups["stage.1"] == ("features.4.", "features.5.")


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"architecture": "vgg11"}, InvalidInput, "weights"),
        (
            {"model_args": {"cfg": [8, "M", 16, "M", 32, "M"], "head_hidden_size": 24}},
            InvalidInput,
            "has shape",
        ),
        ({"model_args": {"cfg": ["M"]}}, InvalidInput, "expected positive channel counts"),
        ({"model_args": {"cfg": [8, -1]}}, InvalidInput, "expected positive channel counts"),
        ({"model_args": {"cfg": [8, "M", "M", "M", "M"]}}, Unsupported, "need 7 x 7"),
        ({"pretrained_cfg": None}, InvalidInput, "no 'pretrained_cfg'"),
        ({"pretrained_cfg": {"input_size": [3, 64, 64]}}, InvalidInput, "lacks"),
    ],
)
def test_a_configuration_that_does_not_fit_its_weights_is_refused(
    files: SourceFiles, tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        FAMILY.load(changed(files, tmp_path / "changed", **changes))


def test_a_missing_convolution_is_refused(files: SourceFiles, tmp_path: Path) -> None:
    other = changed(files, tmp_path / "other")
    tensors = load_file(other.root / "model.safetensors")
    del tensors["features.4.weight"]
    save_file(tensors, other.root / "model.safetensors")
    with pytest.raises(InvalidInput, match=r"lacks 1 weight \(features.4.weight\)"):
        FAMILY.load(other)


def test_only_vgg_is_recognised(tmp_path: Path) -> None:
    for name in ("vgg11", "vgg13_bn", "vgg16", "vgg19_bn"):
        assert FAMILY.recognises(SourceFiles(tmp_path, {"architecture": name}, "hf:timm/x"))
    for config in ({"architecture": "repvgg_a0"}, {"architecture": "vgg16", "model_type": "bert"}, {}):
        assert not FAMILY.recognises(SourceFiles(tmp_path, config, "hf:timm/x"))
