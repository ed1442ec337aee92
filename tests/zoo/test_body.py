"""A backbone in training: what is frozen keeps its weights and its statistics, and batches waste little padding."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from headstock.backbone.restore import Restored
from headstock.digest import Digest
from headstock.finetune import loop
from headstock.finetune.body import Body
from headstock.finetune.checkpoint import State
from headstock.finetune.recipe import Recipe
from headstock.finetune.strategy import Pace
from headstock.hookspecs import SourceFiles
from headstock.preprocess import Row, open_preprocessor
from headstock.records import BackboneIdentity, PaddingRule, Tap, TensorSpec
from headstock.testing.nets import Given, Layers, VectorClassification, recipe_of

DIGEST = Digest("sha256:" + "0" * 64)
PACE = Pace(epochs=1, backbone_epochs=3, learning_rate=1e-2, backbone_rate=1e-2)


# ------------------------------------------------------------------------------------------------ a real norm
@pytest.fixture(scope="module")
def resnet_rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row]]:
    """A tiny ResNet on disk and 24 random pictures as it reads them."""
    pytest.importorskip("headstock_vision")
    from PIL import Image

    from headstock.testing.tiny_vision import make_tiny_resnet
    from headstock_vision.resnet import ResNetFamily

    folder = make_tiny_resnet(tmp_path_factory.mktemp("resnet") / "net")
    family, files = ResNetFamily(), source(folder)
    reader, dice, pictures = (
        open_preprocessor(family.preprocess(files), family.files(files)),
        np.random.default_rng(0),
        [],
    )
    for _ in range(24):
        data = io.BytesIO()
        Image.fromarray(dice.integers(0, 255, (40, 40, 3), np.uint8)).save(data, "PNG")
        pictures.append(data.getvalue())
    return folder, reader.rows(pictures)


def source(folder: Path) -> SourceFiles:
    return SourceFiles(folder, json.loads((folder / "config.json").read_text()), "path:net")


def resnet_body(folder: Path, rows: Sequence[Row]) -> Body:
    from headstock_vision.resnet import ResNetFamily

    family, files = ResNetFamily(), source(folder)
    module = family.load(files)
    taps = tuple(family.taps(module))
    identity = BackboneIdentity("resnet", {}, DIGEST, DIGEST, taps, tuple(family.inputs(module)), family.padding)
    tap = next(tap for tap in taps if tap.name == "pooled")
    reader = open_preprocessor(family.preprocess(files), family.files(files))
    return Body(Restored(module, tuple(family.layer_groups(module)), identity), tap, reader, Given(rows))


def train(body: Body, rows: int, recipe: Recipe) -> None:
    head_type = VectorClassification()
    targets = head_type.encode({"label": [str(i % 2) for i in range(rows)]})
    everything = list(range(rows))
    width = body.values(everything[:2], 2)[0].shape[-1]
    head = head_type.build(width, targets, {})
    features = body.values(everything, rows)
    job = loop.Job(recipe, head_type, lambda: (features, features), targets, targets, body, everything, everything)
    loop.train(job, head, State(), lambda state: None)


def moved(before: dict[str, torch.Tensor], body: Body) -> set[str]:
    after = body.module.state_dict()
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


def copied(body: Body) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in body.module.state_dict().items()}


def test_last_1_of_a_resnet_moves_weights_and_norm_statistics_of_that_stage_and_of_no_other(
    resnet_rows: tuple[Path, list[Row]],
) -> None:
    folder, rows = resnet_rows
    body = resnet_body(folder, rows)
    before, groups = copied(body), body._groups
    train(body, len(rows), recipe_of("vector-classification", "last-1", PACE, groups, seed=1))
    changed = moved(before, body)
    assert any("running_mean" in name for name in changed)
    assert any(name.endswith("weight") for name in changed)
    assert all(name.startswith(groups[-1].prefixes) for name in changed)
    frozen = [n for n in before if "running_mean" in n and not n.startswith(groups[-1].prefixes)]
    assert len(frozen) >= 3
    assert not body.module.training


def test_a_probe_moves_no_statistic_at_all(resnet_rows: tuple[Path, list[Row]]) -> None:
    folder, rows = resnet_rows
    body = resnet_body(folder, rows)
    before = copied(body)
    train(body, len(rows), recipe_of("vector-classification", "feature-extraction", PACE, body._groups, seed=1))
    assert moved(before, body) == set()


# ------------------------------------------------------------------------------------------------ a list of one's own
def test_a_recipe_may_name_any_layer_groups_and_only_those_move() -> None:
    network = Layers((6, 8, 8, 4))
    recipe = recipe_of("vector-classification", "full", PACE, network.groups, seed=2).to_json()
    (phase,) = recipe["strategy"]["phases"]
    recipe["strategy"] |= {"name": "mine", "phases": [
        {**phase, "name": "ends", "live": ["layer.0", "layer.2"], "decay": 0.5},
        {**phase, "name": "bottom", "live": ["layer.0"]},
    ]}  # fmt: skip
    dice = np.random.default_rng(0)
    rows = [Row({"inputs": dice.normal(size=6).astype(np.float32)}, 1) for _ in range(16)]
    body = layers_body(network, rows)
    before = copied(body)
    read = Recipe.from_json(json.loads(json.dumps(recipe)))
    read.strategy.require_groups([group.name for group in network.groups], "mine")
    train(body, len(rows), read)
    assert {name.rpartition(".")[0] for name in moved(before, body)} == {"layers.0", "layers.2"}


def layers_body(network: Layers, rows: Sequence[Row], padding: PaddingRule = "zero-ok") -> Body:
    from headstock.testing.nets import Vectors

    tap = Tap("features", (-1, network.sizes[-1]))
    inputs = (TensorSpec("inputs", "FP32", (-1, network.sizes[0])),)
    identity = BackboneIdentity("layers", {}, DIGEST, DIGEST, (tap,), inputs, padding)
    return Body(Restored(network, network.groups, identity), tap, Vectors(network.sizes[0]), Given(rows))


# ------------------------------------------------------------------------------------------------ batches
def lengths_of(body: Body, size: int, seed: int, rows: int) -> list[list[int]]:
    order = random.Random(seed).sample(range(rows), rows)
    return [[body.rows_length(place) for place in batch] for batch in body.batches(list(range(rows)), order, size)]


def of_lengths(lengths: Sequence[int], padding: PaddingRule = "zero-ok") -> Body:
    return layers_body(
        Layers((2, 2)), [Row({"inputs": np.zeros(2, np.float32)}, length) for length in lengths], padding
    )


def waste(batches: Sequence[Sequence[int]]) -> float:
    paid = sum(len(batch) * max(batch) for batch in batches)
    return 1 - sum(map(sum, batches)) / paid


def test_batches_hold_every_row_once_and_rows_of_near_lengths() -> None:
    lengths = random.Random(3).choices(range(4, 256), k=512)
    body = of_lengths(lengths)
    batches = lengths_of(body, 16, 0, 512)
    assert sorted(length for batch in batches for length in batch) == sorted(lengths)
    assert {len(batch) for batch in batches} == {16}
    shuffled = [lengths[i : i + 16] for i in range(0, 512, 16)]
    assert waste(batches) < 0.15 < 0.4 < waste(shuffled)


def test_another_order_makes_other_batches_and_the_same_order_the_same() -> None:
    body = of_lengths(random.Random(3).choices(range(4, 256), k=256))
    assert lengths_of(body, 16, 0, 256) == lengths_of(body, 16, 0, 256)
    assert lengths_of(body, 16, 0, 256) != lengths_of(body, 16, 1, 256)


def test_a_family_that_may_not_pad_gets_batches_of_one_length() -> None:
    body = of_lengths(random.Random(3).choices(range(4, 8), k=64), "equal-length")
    assert all(len(set(batch)) == 1 for batch in lengths_of(body, 8, 0, 64))


def test_padding_of_an_epoch_is_the_share_of_positions_that_are_no_rows() -> None:
    body = of_lengths([2, 4, 4, 4])
    head = VectorClassification()
    targets = head.encode({"label": ["a", "b", "a", "b"]})
    recipe = recipe_of(head.name, "full", PACE, body._groups, 0)
    job = loop.Job(recipe, head, lambda: pytest.fail("no features are asked for"), targets, targets, body, range(4))
    assert loop._padding(job, body, [[0, 1], [2, 3]]) == pytest.approx(2 / 16)
    assert loop._padding(job, body, [[0], [1, 2, 3]]) == 0
