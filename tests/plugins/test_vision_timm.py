"""timm's checkpoints of ResNet, EfficientNet and ViT: read strictly without timm, and computing what timm computes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from headstock.errors import InvalidInput, Unsupported
from headstock.hookspecs import BackboneFamily, SourceFiles
from headstock_vision.efficientnet import EfficientNetFamily
from headstock_vision.resnet import ResNetFamily
from headstock_vision.vit import VitFamily

FIXTURES = Path(__file__).parent / "fixtures" / "timm"
RECORDS: dict[str, Any] = json.loads((FIXTURES / "outputs.json").read_text())["architectures"]
FAMILIES: dict[str, BackboneFamily] = {
    "resnet": ResNetFamily(), "efficientnet": EfficientNetFamily(), "tf": EfficientNetFamily(), "vit": VitFamily(),
}  # fmt: skip


def family_of(name: str) -> BackboneFamily:
    return next(family for start, family in FAMILIES.items() if name.startswith(start))


def drawing() -> Any:
    sys.path.insert(0, str(FIXTURES))
    try:
        import drawn
    finally:
        sys.path.remove(str(FIXTURES))
    return drawn


def checkpoint(root: Path, name: str, **changes: Any) -> SourceFiles:
    """What `hf:timm/NAME` holds, with weights drawn as the fixture's were."""
    record = RECORDS[name]
    config = {
        "architecture": name,
        "num_classes": 1000,
        "pretrained_cfg": {
            "input_size": [3, record["edge"], record["edge"]], "crop_pct": 0.9, "interpolation": "bicubic",
            "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5],
        },
        **changes,
    }  # fmt: skip
    root.mkdir(exist_ok=True)
    (root / "config.json").write_text(json.dumps(config))
    draw = drawing().drawn
    save_file({key: draw(key, shape) for key, shape in record["shapes"].items()}, root / "model.safetensors")
    return SourceFiles(root, config, f"hf:timm/{name}.tag")


@pytest.mark.parametrize("name", RECORDS)
def test_it_computes_what_timm_computes(tmp_path: Path, name: str) -> None:
    family, files = family_of(name), checkpoint(tmp_path / "net", name)
    assert family.recognises(files)
    module = family.load(files)
    with torch.no_grad():
        taps = module(pixel_values=torch.from_numpy(drawing().picture(RECORDS[name]["edge"])))
    found = taps["cls"][0] if name.startswith("vit") else taps["feature_map"][0, 0, 1]
    expected = np.array(RECORDS[name]["features"], np.float32)
    assert np.abs(found.numpy() - expected).max() <= 2e-5 * max(1.0, float(np.abs(expected).max()))


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "vit_tiny_patch16_224"])
def test_pictures_are_cut_as_the_tag_says_and_no_image_processor_is_asked_for(tmp_path: Path, name: str) -> None:
    family, files = family_of(name), checkpoint(tmp_path / "net", name)
    options = family.preprocess(files).options
    edge = RECORDS[name]["edge"]
    assert options["crop"] == [edge, edge]
    assert options["interpolation"] == "bicubic"
    assert options["mean"] == [0.5, 0.5, 0.5]
    assert sorted(family.files(files)) == ["config", "weights"]


def test_the_two_paddings_of_efficientnet_are_two_functions(tmp_path: Path) -> None:
    plain = checkpoint(tmp_path / "plain", "efficientnet_b0")
    tensorflow = checkpoint(tmp_path / "tf", "tf_efficientnet_b0")
    family = EfficientNetFamily()
    assert family.architecture(plain) != family.architecture(tensorflow)
    picture = torch.from_numpy(drawing().picture(64))
    with torch.no_grad():
        maps = [family.load(files)(pixel_values=picture)["feature_map"] for files in (plain, tensorflow)]
    assert float((maps[0] - maps[1]).abs().max()) > 1e-3


@pytest.mark.parametrize(
    "family, name",
    [
        (ResNetFamily(), "resnet50d"),
        (ResNetFamily(), "resnet50_gn"),
        (ResNetFamily(), "wide_resnet50_2"),
        (EfficientNetFamily(), "efficientnet_v2_s"),
        (EfficientNetFamily(), "efficientnetv2_rw_s"),
    ],
)
def test_a_variant_that_computes_something_else_is_refused_by_name(
    tmp_path: Path, family: BackboneFamily, name: str
) -> None:
    files = SourceFiles(tmp_path, {"architecture": name, "pretrained_cfg": {}}, f"hf:timm/{name}.tag")
    assert family.recognises(files)
    with pytest.raises(Unsupported, match=f"timm's '{name}'"):
        family.load(files)


def test_an_argument_that_changes_the_function_is_refused(tmp_path: Path) -> None:
    files = checkpoint(tmp_path / "net", "resnet18", model_args={"stem_type": "deep"})
    with pytest.raises(Unsupported, match="stem_type"):
        ResNetFamily().load(files)


@pytest.mark.parametrize(
    "name, own", [("resnet18", {}), ("efficientnet_b0", {}), ("vit_tiny_patch16_224", {"img_size": [224, 224]})]
)
def test_what_timm_writes_for_every_network_changes_nothing(tmp_path: Path, name: str, own: dict[str, Any]) -> None:
    """timm's save_for_hf records the channels, the classes, the pooling and a ViT's edges among `model_args`."""
    written = {"in_chans": 3, "num_classes": 1000, "global_pool": "avg", **own}
    family, plain = family_of(name), checkpoint(tmp_path / "net", name)
    saved = SourceFiles(plain.root, {**plain.config, "model_args": written}, plain.spec)
    assert family.architecture(saved) == family.architecture(plain)


def test_a_picture_that_is_no_square_is_refused(tmp_path: Path) -> None:
    files = checkpoint(tmp_path / "net", "vit_tiny_patch16_224", model_args={"img_size": [224, 192]})
    with pytest.raises(Unsupported, match="square"):
        VitFamily().load(files)


def test_a_weight_too_many_is_named(tmp_path: Path) -> None:
    files = checkpoint(tmp_path / "net", "vit_tiny_patch16_224")
    draw = drawing().drawn
    shapes = {**RECORDS["vit_tiny_patch16_224"]["shapes"], "reg_token": [1, 4, 192]}
    save_file({key: draw(key, shape) for key, shape in shapes.items()}, files.root / "model.safetensors")
    with pytest.raises(InvalidInput, match="reg_token"):
        VitFamily().load(files)
