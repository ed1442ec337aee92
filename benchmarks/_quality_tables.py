"""Tables: a backbone pretrained on masked columns with a linear head, against linear models on the raw columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from _quality import Cell, Zoo, held_out, metric, over_seeds, write_split

SEEDS = (0, 1, 2)
EPOCHS = 30
NETWORKS = ("ft-transformer", "mlp")


def cells(zoo: Zoo, folder: Path) -> list[Cell]:
    """Accuracy on breast cancer and R2 on diabetes; the backbone is pretrained on the training rows of each seed."""
    from sklearn.datasets import load_breast_cancer, load_diabetes

    folder.mkdir()
    cancer, diabetes = load_breast_cancer(), load_diabetes(scaled=False)
    return [
        *_task(zoo, folder, "breast cancer", cancer, "tabular-classification", "accuracy", cancer.target_names),
        *_task(zoo, folder, "diabetes", diabetes, "tabular-regression", "r2", None),
    ]


def _task(
    zoo: Zoo, folder: Path, task: str, data: Any, head: str, figure: str, classes: Sequence[str] | None
) -> list[Cell]:
    names = [str(name).replace(" ", "_") for name in data.feature_names]
    answers = data.target.tolist() if classes is None else [str(classes[i]) for i in data.target]
    role = "target" if classes is None else "label"
    linear = "ridge on raw columns" if classes is None else "logistic regression on raw columns"
    scores: dict[str, list[float]] = {
        **{f"{network}, linear probe": [] for network in NETWORKS}, linear: [], "mean or majority": []
    }  # fmt: skip
    for seed in SEEDS:
        validates = held_out(len(answers), seed, None if classes is None else answers)
        columns = {name: data.data[:, i].tolist() for i, name in enumerate(names)} | {role: answers}
        table = write_split(folder / f"{role}-{seed}.csv", columns, validates)
        train = write_split(
            folder / f"{role}-{seed}-train.csv",
            _only(columns, ~validates),
            np.zeros((~validates).sum(), bool),
        )
        for network in NETWORKS:
            backbone = f"{role}-{network}-{seed}"
            zoo.run(
                "pretrain", str(train), "--ignore", role, "--ignore", "split", "--out", str(folder / backbone),
                "--network", network, "--epochs", str(EPOCHS), "--seed", str(seed),
            )  # fmt: skip
            zoo.run("pull", f"path:{folder / backbone}", "--name", backbone)
            report = zoo.fine_tune(
                backbone, head, table, f"{backbone}-model", f"--{role}-column", role, "--seed", str(seed)
            )
            scores[f"{network}, linear probe"].append(metric(report, figure)["value"])
        scores[linear].append(_linear(data.data, data.target, validates, classes is not None))
        scores["mean or majority"].append(_guess(data.target, validates, classes is not None))
    return [over_seeds(task, method, figure, values) for method, values in scores.items()]


def _only(columns: Mapping[str, Sequence[Any]], rows: np.ndarray) -> dict[str, list[Any]]:
    return {name: [value for value, kept in zip(values, rows, strict=True) if kept] for name, values in columns.items()}


def _linear(inputs: np.ndarray, targets: np.ndarray, validates: np.ndarray, classes: bool) -> float:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000) if classes else Ridge())
    pipeline.fit(inputs[~validates], targets[~validates])
    return float(pipeline.score(inputs[validates], targets[validates]))


def _guess(targets: np.ndarray, validates: np.ndarray, classes: bool) -> float:
    from sklearn.dummy import DummyClassifier, DummyRegressor

    guesser = DummyClassifier() if classes else DummyRegressor()
    guesser.fit(targets[~validates], targets[~validates])
    return float(guesser.score(targets[validates], targets[validates]))
