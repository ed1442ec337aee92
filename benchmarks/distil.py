"""What distillation gains: a small ResNet with few labels, taught by a larger one, beside itself taught by the labels.

The teacher's backbone was trained on 700 digits, the student's weights are random. Of 600 other digits so many per
class as `--labelled` says have a label, the rest is seen with the teacher's answers alone; a fifth of the labelled
validates the run, and 400 digits that neither saw judge both. The direction is known beforehand: taught beats untaught.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.utils.logging import disable_progress_bar

from _common import report
from _quality import Zoo, over_seeds
from _quality_digits import network_of, png
from headstock.testing.tiny_vision import make_tiny_resnet

TEACHER: dict[str, Any] = {"embedding_size": 16, "hidden_sizes": [32, 64], "depths": [1, 1], "layer_type": "basic"}
STUDENT: dict[str, Any] = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
HEAD = ("--head", "image-classification", "--image-column", "image", "--label-column", "label")
PACE = ("--strategy", "full", "--backbone-epochs", "20", "--backbone-lr", "3e-3", "--lr", "3e-3", "--patience", "0")


def main() -> int:
    """Measure and print; 0 if the taught student is better in the mean."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--labelled", type=int, default=8, help="rows of each class that have a label")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    disable_progress_bar()
    began = time.process_time()
    with tempfile.TemporaryDirectory(prefix="headstock-distil-") as folder:
        found = [_run(Path(folder), seed, asked.labelled) for seed in range(asked.seeds)]
    names = ("teacher", "student, taught", "student, untaught")
    scores = {name: [one["accuracy"][name] for one in found] for name in names}
    cost = found[0]["cost"]
    rows = []
    for name in names:
        side = name.split(",")[0]
        cell = over_seeds("digits", name, "accuracy", scores[name]) if asked.seeds > 1 else None
        interval = f" [{cell.low:.3f}, {cell.high:.3f}]" if cell else ""
        size, pace = cost[f"{side}_bytes"] / 1e6, cost[f"{side}_seconds_per_row"] * 1e3
        rows.append([name, f"{np.mean(scores[name]):.3f}{interval}", f"{size:.3f}", f"{pace:.3f}"])
    seconds = time.process_time() - began
    title = f"distillation, {asked.labelled} labels per class of 600 rows, {asked.seeds} seeds, {seconds:.0f} CPU s"
    report(title, ["model", "accuracy on 400 unseen", "graph MB", "ms per row"], rows,
           {"labelled": asked.labelled, "accuracy": scores, "cost": cost, "cpu_s": seconds})  # fmt: skip
    gain = float(np.mean(scores[names[1]]) - np.mean(scores[names[2]]))
    ratios = f"{cost['size_ratio']:.2f} of the teacher's size, {cost['time_ratio']:.2f} of its time per row"
    print(f"taught over untaught: {100 * gain:+.1f} points, at {ratios}: {'met' if gain > 0 else 'MISSED'}")
    return 0 if gain > 0 else 1


def _run(root: Path, seed: int, labelled: int) -> dict[str, Any]:
    """Accuracy of all three on the digits that none of them saw, and what the student costs."""
    from sklearn.datasets import load_digits

    folder = root / str(seed)
    folder.mkdir()
    pixels, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(digits))
    upstream, rows, unseen = order[:700], order[700:1300], order[1300:1700]
    network_of(folder / "teacher", pixels[upstream], digits[upstream], TEACHER)
    make_tiny_resnet(folder / "student", seed=seed, settings=STUDENT)
    zoo = Zoo(folder / "home")
    for name in ("teacher", "student"):
        zoo.run("pull", f"path:{folder / name}", "--name", f"{name}-net")
    for i in order:
        (folder / f"{i}.png").write_bytes(png(pixels[i]))
    _write(folder / "upstream.csv", upstream, digits[upstream].tolist())
    known = _labelled(digits[rows], labelled)
    some = [digit if own else "" for digit, own in zip(digits[rows].tolist(), known, strict=True)]
    _write(folder / "some.csv", rows, some)
    _write(folder / "few.csv", rows[known], digits[rows][known].tolist())
    base = ("--seed", str(seed), "--format", "json")
    first = ("--backbone", "teacher-net", *HEAD, "--data", str(folder / "upstream.csv"), "--name", "teacher")
    zoo.run("fine-tune", *first, "--report", "none", *base)
    taught = json.loads(
        zoo.run("distil", "--teacher", "teacher", "--student", "student-net", *HEAD[2:], "--data",
                str(folder / "some.csv"), "--name", "taught", *PACE, *base)
    )  # fmt: skip
    zoo.run("fine-tune", "--backbone", "student-net", *HEAD, "--data", str(folder / "few.csv"), "--name", "untaught",
            "--report", "none", *PACE, *base)  # fmt: skip
    models = {"teacher": "teacher", "student, taught": "taught", "student, untaught": "untaught"}
    files = [str(folder / f"{i}.png") for i in unseen]
    accuracy = {}
    for name, model in models.items():
        answers = json.loads(zoo.run("predict", model, *files, "--format", "json"))
        accuracy[name] = float(np.mean([a["label"] == str(d) for a, d in zip(answers, digits[unseen], strict=True)]))
    return {"accuracy": accuracy, "cost": taught["distillation"]["cost"]}


def _labelled(digits: np.ndarray, count: int) -> np.ndarray:
    """True for the first `count` rows of each class."""
    chosen = np.zeros(len(digits), bool)
    for digit in range(10):
        chosen[np.flatnonzero(digits == digit)[:count]] = True
    return chosen


def _write(path: Path, rows: np.ndarray, labels: Sequence[Any]) -> None:
    path.write_text("image,label\n" + "".join(f"{i}.png,{label}\n" for i, label in zip(rows, labels, strict=True)))


if __name__ == "__main__":
    sys.exit(main())
