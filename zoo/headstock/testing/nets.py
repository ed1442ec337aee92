"""Small networks of vectors, trained upstream and then adapted by the one loop, without catalogue and graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from headstock.backbone.restore import Restored
from headstock.digest import Digest
from headstock.finetune import Recipe, loop
from headstock.finetune.body import Body, RowSource
from headstock.finetune.checkpoint import State
from headstock.finetune.reset import reset
from headstock.finetune.strategy import Pace, built_in
from headstock.heads import ClassificationHead
from headstock.hookspecs import LayerGroup, Targets
from headstock.preprocess import Preprocessor, PreprocessSpec, Row
from headstock.records import BackboneIdentity, Tap, TensorSpec

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Answers = Callable[[Floats], Ints]

_DIGEST = Digest("sha256:" + "0" * 64)


class VectorClassification(ClassificationHead):
    """One label per vector."""

    name: ClassVar[str] = "vector-classification"
    modality: ClassVar[str] = "tabular"
    tap: ClassVar[str] = "features"

    def postprocess(self, targets: Targets, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """As every classification."""
        return {"kind": "classification", "labels": list(targets.labels)}


class Layers(torch.nn.Module):
    """Dense layers with ReLU; `sizes` from input to features. Each layer is a layer group of its own."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.layers = torch.nn.ModuleList(torch.nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """`features` [n, width] of inputs [n, values]."""
        for layer in self.layers:
            inputs = torch.relu(layer(inputs))
        return {"features": inputs}

    @property
    def groups(self) -> tuple[LayerGroup, ...]:
        """From input to output."""
        return tuple(LayerGroup(f"layer.{i}", (f"layers.{i}.",)) for i in range(len(self.layers)))


@dataclass(frozen=True, slots=True)
class Upstream:
    """A network and what it was trained on; `weights` are copied for every run."""

    sizes: tuple[int, ...]
    weights: Mapping[str, torch.Tensor]

    def network(self) -> Layers:
        """A copy."""
        made = Layers(self.sizes)
        made.load_state_dict(dict(self.weights))
        return made


def pretrain(
    sizes: Sequence[int], inputs: Floats, classes: Ints, epochs: int, seed: int, rate: float = 3e-3
) -> Upstream:
    """Train a network of these sizes with Adam on inputs [n, values] of classes [n]; 0 epochs leave it random."""
    with loop.one_thread(), loop.seeded(seed, "upstream"):
        body = Layers(sizes)
        top = torch.nn.Linear(sizes[-1], int(classes.max()) + 1)
        optimizer = torch.optim.Adam([*body.parameters(), *top.parameters()], lr=rate)
        rows, targets = torch.from_numpy(inputs), torch.from_numpy(classes)
        for _ in range(epochs):
            for batch in torch.split(torch.randperm(len(rows)), 64):
                optimizer.zero_grad()
                logits = top(body(rows[batch])["features"])
                torch.nn.functional.cross_entropy(logits, targets[batch]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return Upstream(tuple(sizes), {name: value.clone() for name, value in body.state_dict().items()})


def adapt(upstream: Upstream, inputs: Floats, labels: Ints, strategy: str, pace: Pace, seed: int) -> Answers:
    """Answers of the network adapted to `labels` [n] of `inputs` by a built-in strategy; the last epoch is kept.

    There are too few rows to keep some apart, so those that train also judge, and patience stops nothing.
    """
    network = upstream.network()
    if strategy == "scratch":
        with loop.one_thread(), loop.seeded(seed, "reset"):
            reset(network)
    head_type, width = VectorClassification(), upstream.sizes[-1]
    targets = head_type.encode({"label": [str(label) for label in labels]})
    reader = Vectors(upstream.sizes[0])
    tap = Tap("features", (-1, width))
    identity = BackboneIdentity("layers", {}, _DIGEST, _DIGEST, (tap,), (reader.raw_input,), "zero-ok")
    body = Body(Restored(network, network.groups, identity), tap, reader, Given(reader.rows(list(inputs))))
    everything = list(range(len(inputs)))
    recipe = recipe_of(head_type.name, strategy, pace, network.groups, seed)
    features = body.values(everything, len(inputs))
    with loop.one_thread(), loop.seeded(seed, "build"):
        head = head_type.build(width, targets, {})
    fit = getattr(head, "fit_input_statistics", None)
    if callable(fit) and not recipe.strategy.phases[0].live:
        fit(torch.from_numpy(np.asarray(features)))
    job = loop.Job(
        recipe, head_type, lambda: (features, features), targets, targets,
        body if recipe.strategy.live else None, everything, everything,
    )  # fmt: skip
    loop.train(job, head, State(), lambda state: None)
    names = np.array([int(label) for label in targets.labels], np.int64)

    def answers(rows: Floats) -> Ints:
        with torch.no_grad(), loop.one_thread():
            logits = head(network(torch.from_numpy(rows))["features"])
        chosen: Ints = names[logits.argmax(dim=1).numpy()]
        return chosen

    return answers


def recipe_of(head: str, strategy: str, pace: Pace, groups: Sequence[LayerGroup], seed: int) -> Recipe:
    """The recipe of a built-in strategy over these layer groups, for rows that stand nowhere."""
    return Recipe.from_json({
        "format": 1,
        "seed": seed,
        "backbone": {"name": "layers", "digest": _DIGEST},
        "head": {"type": head, "tap": "features", "options": {}},
        "data": {"name": "vectors", "sha256": _DIGEST, "columns": {}},
        "split": {"kind": "random", "fraction": 0.2, "stratified": False, "seed": seed},
        "strategy": built_in(strategy, pace, [group.name for group in groups]).model_dump(mode="json"),
        "optimizer": {
            "name": "adamw", "weight_decay": 1e-2, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "batch_size": 16,
        },
        "stopping": {"patience": 0, "min_delta": 0.0},
        "features": {"cache": True},
    })  # fmt: skip


class Vectors(Preprocessor):
    """Vectors as they are."""

    spec = PreprocessSpec("vectors", {}, {})
    tensor_inputs = ()

    def __init__(self, width: int) -> None:
        self._width = width

    @property
    def raw_input(self) -> TensorSpec:
        return TensorSpec("inputs", "FP32", (-1, self._width))

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
