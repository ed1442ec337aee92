"""LP-FT keeps what a random head destroys: the two-layer linear network of Kumar et al. (2022), run by the one loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from headstock.backbone.restore import Restored
from headstock.digest import Digest
from headstock.finetune import Recipe, loop
from headstock.finetune.body import Body, RowSource
from headstock.finetune.checkpoint import State
from headstock.finetune.strategy import Pace, built_in
from headstock.heads.linear import StandardisedLinear
from headstock.hookspecs import Batch, HeadType, LayerGroup, LinearForm, Metric, Targets
from headstock.preprocess import Preprocessor, PreprocessSpec, Row
from headstock.records import BackboneIdentity, Tap, TensorSpec

WIDTH, FEATURES, KNOWN, ROWS = 20, 4, 10, 30
"""Inputs, features, dimensions of the subspace that training rows lie in, training rows."""
DIGEST = Digest("sha256:" + "0" * 64)


class Linear(HeadType):
    """Least squares on one output; the metric is minus the mean squared error."""

    name: ClassVar[str] = "linear"
    task: ClassVar[str] = "regression"
    modality: ClassVar[str] = "tabular"
    tap: ClassVar[str] = "features"
    columns: ClassVar[tuple[str, ...]] = ("target",)
    primary_metric: ClassVar[str] = "fit"

    def encode(self, columns: Mapping[str, Sequence[Any]], labels: Sequence[str] | None = None) -> Targets:
        return Targets(np.array(columns["target"], np.float32))

    def build(self, width: int, targets: Targets, options: Mapping[str, Any]) -> torch.nn.Module:
        return StandardisedLinear(width, 1)

    def loss(self, head: torch.nn.Module, batch: Batch) -> torch.Tensor:
        error: torch.Tensor = (head(batch.features)[:, 0] - batch.targets).square().mean()
        return error

    def metrics(self, outputs: Any, targets: Targets, seed: int) -> Sequence[Metric]:
        value = -float(np.mean((outputs[:, 0] - targets.values) ** 2))
        return [Metric("fit", value, value, value, "none")]

    def linear_form(self, head: torch.nn.Module) -> LinearForm | None:
        return None

    def postprocess(self, targets: Targets, options: Mapping[str, Any]) -> Mapping[str, Any]:
        return {}


class Network(torch.nn.Module):
    """The pretrained lower layer: [n, 20] to [n, 4]."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(WIDTH, FEATURES, bias=False)
        self.layer.weight.data.copy_(weight)

    def forward(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"features": self.layer(inputs)}


class Vectors(Preprocessor):
    """Vectors as they are."""

    spec = PreprocessSpec("vectors", {}, {})
    raw_input = TensorSpec("inputs", "FP32", (-1, WIDTH))
    tensor_inputs = ()

    def rows(self, raw: Sequence[Any]) -> list[Row]:
        return [Row({"inputs": vector}, 1) for vector in raw]

    def rows_from_tensors(self, tensors: Mapping[str, Any]) -> list[Row]:
        return self.rows(tensors["inputs"])

    def collate(self, rows: Sequence[Row]) -> dict[str, Any]:
        return {"inputs": np.stack([row.tensors["inputs"] for row in rows])}


class Given(RowSource):
    """Rows at hand."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._all = rows

    def read(self, numbers: Sequence[int]) -> list[Row]:
        return [self._all[number] for number in numbers]


def out_of_distribution_error(strategy: str, seed: int) -> float:
    """Mean squared error on inputs of all dimensions, after training on inputs of half of them."""
    dice = np.random.default_rng(seed)
    basis = np.linalg.qr(dice.normal(size=(WIDTH, WIDTH)))[0]
    true = np.linalg.qr(dice.normal(size=(WIDTH, FEATURES)))[0].T
    answer = dice.normal(size=FEATURES)
    # What pretraining found is near the truth, turned by a little.
    learned = np.linalg.qr((true + 0.005 * dice.normal(size=true.shape)).T)[0].T
    learned = np.linalg.lstsq(learned.T, true.T, rcond=None)[0].T @ learned
    inputs = (dice.normal(size=(ROWS, KNOWN)) @ basis[:KNOWN]).astype(np.float32)
    targets = Targets((inputs @ true.T @ answer).astype(np.float32))
    network = Network(torch.from_numpy(learned.astype(np.float32)))
    tap = Tap("features", (-1, FEATURES))
    identity = BackboneIdentity("toy", {}, DIGEST, DIGEST, (tap,), (Vectors.raw_input,), "zero-ok")
    reader = Vectors()
    rows = reader.rows(list(inputs))
    body = Body(Restored(network, (LayerGroup("layer", ("layer.",)),), identity), tap, reader, Given(rows))
    pace = Pace(epochs=150, backbone_epochs=150, learning_rate=1e-1, backbone_rate=3e-3, schedule="cosine")
    everything = list(range(ROWS))
    features = body.values(everything, ROWS)
    with loop.seeded(seed, "build"):
        head = Linear().build(FEATURES, targets, {})
    job = loop.Job(
        recipe_of(strategy, pace, seed), Linear(), lambda: (features, features), targets, targets, body, everything,
        everything,
    )  # fmt: skip
    loop.train(job, head, State(), lambda state: None)
    probes = dice.normal(size=(2000, WIDTH)).astype(np.float32)
    with torch.no_grad():
        found = head(network(torch.from_numpy(probes))["features"])[:, 0].numpy()
    return float(np.mean((found - probes @ true.T @ answer) ** 2))


def recipe_of(strategy: str, pace: Pace, seed: int) -> Recipe:
    return Recipe.from_json({
        "format": 1,
        "seed": seed,
        "backbone": {"name": "toy", "digest": DIGEST},
        "head": {"type": "linear", "tap": "features", "options": {}},
        "data": {"name": "toy", "sha256": DIGEST, "columns": {}},
        "split": {"kind": "random", "fraction": 0.2, "stratified": False, "seed": seed},
        "strategy": built_in(strategy, pace, ("layer",)).model_dump(mode="json"),
        "optimizer": {
            "name": "adamw", "weight_decay": 0.0, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "batch_size": ROWS,
        },
        "stopping": {"patience": 0, "min_delta": 0.0},
        "features": {"cache": True},
    })  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_lp_ft_beats_fine_tuning_under_a_random_head_away_from_the_training_data(seed: int) -> None:
    assert out_of_distribution_error("lp-ft", seed) < out_of_distribution_error("full", seed)
