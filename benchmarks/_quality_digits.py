"""A small ResNet trained from scratch on the digits 0 to 4, adapted to 5 to 9 by every strategy that exists."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from _quality import SEEDS, Cell, Zoo, held_out, metric, over_seeds, write_split
from headstock.hookspecs import SourceFiles
from headstock.metrics import wilson
from headstock.preprocess import open_preprocessor
from headstock.testing.tiny_vision import make_tiny_resnet
from headstock_vision.resnet import ResNetFamily

TASK = "digits 5-9"
EPOCHS, BATCH, RATE = 12, 32, 3e-3
STRATEGIES = {
    "linear probe": "feature-extraction",
    "LP-FT": "lp-ft",
    "full fine-tuning": "full",
    "gradual unfreezing": "gradual",
    "from scratch": "scratch",
}
"""What the field calls it, and the strategy's name in the product."""
PACE = ("--backbone-epochs", "20", "--backbone-lr", "1e-3", "--patience", "0")
"""A network this small is trained like a fresh one; what is right for large pretrained ones would hardly move it."""
FEW = 5
"""Training rows per class of the small setting."""
SIZES: dict[str, Any] = {
    "embedding_size": 16,
    "hidden_sizes": [32, 64],
    "depths": [1, 1],
    "layer_type": "basic",
    "num_labels": 5,
}


def cells(zoo: Zoo, folder: Path) -> list[Cell]:
    """Accuracy on held-out digits 5-9, from four fifths of them and from a handful, same rows for all methods."""
    from sklearn.datasets import load_digits

    folder.mkdir()
    pixels, digits = load_digits(return_X_y=True)
    known = digits < 5
    source = network_of(folder / "resnet", pixels[known], digits[known])
    make_tiny_resnet(folder / "random", settings=SIZES)
    for name in ("resnet", "random"):
        zoo.run("pull", f"path:{folder / name}", "--name", name)
    new, answers = pixels[~known], digits[~known]
    paths = []
    for i, row in enumerate(new):
        (folder / f"{i}.png").write_bytes(png(row))
        paths.append(f"{i}.png")
    pool = _Pool(zoo, folder / "data.csv", new, answers, paths)
    compared = [
        cell
        for size, few in (("4/5 of the rows", None), (f"{FEW} rows per class", FEW))
        for cell in _compare(pool, f"{TASK}, {size}", [held_out(len(new), seed, answers, few) for seed in SEEDS])
    ]
    return [Cell("digits 0-4", "ResNet, trained from scratch", "accuracy", *source, "a held-out fifth"), *compared]


@dataclass(frozen=True)
class _Pool:
    """The digits to adapt to."""

    zoo: Zoo
    table: Path
    pixels: np.ndarray
    digits: np.ndarray
    paths: list[str]

    def adapted(self, backbone: str, strategy: str, splits: Sequence[np.ndarray]) -> list[float]:
        """Accuracy of fine-tunes, one per seed."""
        scores = []
        for seed, validates in zip(SEEDS, splits, strict=True):
            data = write_split(self.table, {"image": self.paths, "label": self.digits.tolist()}, validates)
            options = ("--seed", str(seed), "--strategy", strategy, *PACE)
            report = self.zoo.fine_tune(backbone, "image-classification", data, f"{backbone}-digits", *options)
            scores.append(float(metric(report, "accuracy")["value"]))
        return scores


def _compare(pool: _Pool, task: str, splits: Sequence[np.ndarray]) -> list[Cell]:
    found = []
    for method, strategy in STRATEGIES.items():
        title = f"ResNet of 0-4, {method}"
        found.append(over_seeds(task, title, "accuracy", pool.adapted("resnet", strategy, splits)))
    plain = pool.adapted("random", "feature-extraction", splits)
    logistic = [_logistic(pool.pixels, pool.digits, validates) for validates in splits]
    return [
        *found,
        over_seeds(task, "random ResNet, linear probe", "accuracy", plain),
        over_seeds(task, "logistic regression on pixels", "accuracy", logistic),
    ]


def png(row: np.ndarray) -> bytes:
    """A row of 64 pixels from 0 to 16 as a picture of 32 x 32."""
    from PIL import Image

    small = Image.fromarray((row.reshape(8, 8) * 255 / 16).astype(np.uint8))
    data = io.BytesIO()
    small.resize((32, 32), Image.Resampling.BILINEAR).convert("RGB").save(data, "PNG")
    return data.getvalue()


def network_of(
    folder: Path, pixels: np.ndarray, digits: np.ndarray, settings: dict[str, Any] = SIZES
) -> tuple[float, float, float]:
    """Train a ResNet and write it as transformers does; its accuracy on a held-out fifth, with the interval."""
    from transformers import ResNetForImageClassification

    make_tiny_resnet(folder, settings={**settings, "num_labels": int(digits.max()) + 1})
    network: Any = ResNetForImageClassification.from_pretrained(folder)
    family = ResNetFamily()
    files = SourceFiles(folder, json.loads((folder / "config.json").read_text()), "path:resnet")
    reader = open_preprocessor(family.preprocess(files), family.files(files))
    batch = reader.collate(reader.rows([png(row) for row in pixels]))["pixel_values"]
    validates = held_out(len(digits), 0, digits)
    inputs, targets = torch.from_numpy(batch[~validates]), torch.from_numpy(digits[~validates])
    torch.manual_seed(0)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, EPOCHS * -(-len(targets) // BATCH))
    network.train()
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(targets)).split(BATCH):
            loss = torch.nn.functional.cross_entropy(network(inputs[rows]).logits, targets[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    network.eval().save_pretrained(folder)
    with torch.inference_mode():
        answers = network(torch.from_numpy(batch[validates])).logits.argmax(dim=1).numpy()
    scored = wilson("accuracy", int((answers == digits[validates]).sum()), len(answers))
    return scored.value, scored.low, scored.high


def _logistic(pixels: np.ndarray, digits: np.ndarray, validates: np.ndarray) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    pipeline.fit(pixels[~validates], digits[~validates])
    return float(pipeline.score(pixels[validates], digits[validates]))
