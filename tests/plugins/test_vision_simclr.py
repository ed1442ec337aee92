"""SimCLR: views that differ and are still pictures, and a backbone that learns to match them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from headstock.backbone.pull import pull
from headstock.catalogue import Catalogue
from headstock.errors import InvalidInput
from headstock.finetune import read_table
from headstock.hookspecs import Batch
from headstock.names import Reference
from headstock.objectives import Pursuit, continue_backbone, plan_objective
from headstock.plugin_host import open_host
from headstock.preprocess.image_options import ImageOptions
from headstock.settings import Settings
from headstock.testing.tiny_vision import make_tiny_resnet
from headstock_vision.objectives.augment import Augmentation, augmented
from headstock_vision.objectives.contrast import SimClr

ROWS = 240
SIZES: dict[str, Any] = {
    "embedding_size": 16, "hidden_sizes": [32, 64], "depths": [1, 1], "layer_type": "basic", "num_labels": 10,
}  # fmt: skip
PLAIN = Augmentation(crop=1.0, flip=0.0, light=0.0, grey=0.0, noise=0.0)


def options(**more: float) -> ImageOptions:
    value = {
        "size": {"height": 12, "width": 16}, "crop": None, "crop_rounding": "down", "interpolation": "bilinear",
        "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3], "rescale": 1 / 255, "mode": "RGB", "max_pixels": 10_000,
    }  # fmt: skip
    return ImageOptions.parse({**value, **more})


def picture() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 12, 16)).astype(np.float32)


# ------------------------------------------------------------------------------------------------ views
def test_a_view_without_any_change_is_the_picture() -> None:
    found = augmented(picture(), options(), PLAIN, np.random.default_rng(0))
    np.testing.assert_allclose(found, picture(), atol=1e-5)


def test_a_flip_mirrors_from_left_to_right() -> None:
    mirrored = Augmentation(crop=1.0, flip=1.0, light=0.0, grey=0.0, noise=0.0)
    found = augmented(picture(), options(), mirrored, np.random.default_rng(0))
    np.testing.assert_allclose(found, picture()[:, :, ::-1], atol=1e-5)


def test_a_grey_view_has_the_same_light_in_every_channel() -> None:
    """Before the normalisation, which differs by channel."""
    how = Augmentation(crop=1.0, flip=0.0, light=0.0, grey=1.0, noise=0.0)
    found = augmented(picture(), options(), how, np.random.default_rng(0))
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (options().mean, options().std))
    seen = found * std + mean
    np.testing.assert_allclose(seen[0], seen[1], atol=1e-5)
    np.testing.assert_allclose(seen[0], seen[2], atol=1e-5)


def test_a_crop_keeps_the_size_and_stays_within_the_picture() -> None:
    """A picture that is brighter to the right: each crop is too, and no value lies outside."""
    ramp = np.broadcast_to(np.linspace(0, 1, 16, dtype=np.float32), (3, 12, 16))
    plain = options(mean=[0.0] * 3, std=[1.0] * 3)
    how = Augmentation(crop=0.2, flip=0.0, light=0.0, grey=0.0, noise=0.0)
    views = [augmented(ramp, plain, how, np.random.default_rng(seed)) for seed in range(20)]
    for view in views:
        assert view.shape == ramp.shape
        assert (np.diff(view, axis=2) >= -1e-6).all()
        assert view.min() >= -1e-6
        assert view.max() <= 1 + 1e-6
    assert len({round(float(view[0, 0, 0]), 4) for view in views}) > 10


def test_the_loss_is_low_where_both_views_of_a_picture_agree() -> None:
    """NT-Xent by hand: at temperature 1 one right answer among three others, cosines 1, 0 and 0."""
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    places = torch.tensor([0, 1, 0, 1])
    terms = SimClr().terms(torch.nn.Identity(), Batch(features, places), {"temperature": 1.0})
    assert terms.losses.tolist() == pytest.approx([float(np.log(1 + 2 * np.exp(-1)))] * 4, abs=1e-5)
    assert terms.hits.tolist() == [1, 1, 1, 1]
    crossed = SimClr().terms(torch.nn.Identity(), Batch(features[[0, 1, 3, 2]], places), {"temperature": 1.0})
    assert crossed.hits.tolist() == [0, 0, 0, 0]


# ------------------------------------------------------------------------------------------------ learning
def test_a_backbone_learns_to_match_views_and_its_norms_learn_too(tmp_path: Path) -> None:
    """From a table of digits to a certified version: held-out views are matched better than before, and digits have
    more neighbours of their kind, which nobody told the backbone."""
    pixels, digits = load_digits(return_X_y=True)
    for number, row in enumerate(pixels[:ROWS]):
        image = Image.fromarray((row.reshape(8, 8) * 15).astype(np.uint8)).convert("RGB")
        image.resize((32, 32), Image.Resampling.BILINEAR).save(tmp_path / f"{number}.png")
    lines = [f"{number}.png,{digits[number]}" for number in range(ROWS)]
    (tmp_path / "digits.csv").write_text("image,label\n" + "\n".join(lines) + "\n")
    make_tiny_resnet(tmp_path / "resnet", settings=SIZES)
    settings = Settings.from_environment({**os.environ, "HEADSTOCK_HOME": str(tmp_path / "home")})
    with Catalogue.open(settings) as catalogue:
        host, table = open_host(settings), read_table(tmp_path / "digits.csv")
        pull(catalogue, host, f"path:{tmp_path / 'resnet'}", "resnet")
        asked = Pursuit(
            columns={"image": "image"}, epochs=6, batch_size=64, backbone_rate=3e-3, learning_rate=3e-3,
            strategy="full", options={"crop": "0.4", "flip": "0", "grey": "0"},
        )  # fmt: skip
        recipe = plan_objective(catalogue, host, table, Reference("resnet"), asked)
        assert recipe.head.type == "simclr"
        made = continue_backbone(catalogue, host, recipe, table, "mine", probe=table)
        certificate = catalogue.certificate(made.version.subject)
        wrong = plan_objective(catalogue, host, table, Reference("resnet"), replace(asked, options={"crop": "0"}))
        with pytest.raises(InvalidInput, match="option crop is 0"):
            continue_backbone(catalogue, host, wrong, table, "x")
    found = made.report["held_out"]
    assert found["gain"]["low"] > 0
    assert found["after"]["match_accuracy"]["value"] > found["before"]["match_accuracy"]["value"] + 0.1
    neighbours = made.report["probe"]["neighbours"]
    assert neighbours["after"]["value"] > neighbours["before"]["value"]
    assert certificate is not None
    assert certificate.shared
