"""What the parts of the quality benchmark share: the command line in this process, one row of the table, intervals."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner

from headstock.cli.main import cli

SEEDS = (0, 1, 2, 3, 4)
SHARE = 0.2
"""Of rows that are held out."""
NOT_BUILT = "not built"
# Two-sided 95 % of Student's t, by degrees of freedom.
_T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}


@dataclass(frozen=True)
class Cell:
    """One line of the table: a method on a task."""

    task: str
    method: str
    metric: str
    value: float | None
    """None where the product has no such method."""
    low: float | None = None
    high: float | None = None
    note: str = ""

    def row(self) -> list[str]:
        """As the table prints it."""
        interval = "" if self.low is None or self.high is None else f"[{self.low:.3f}, {self.high:.3f}]"
        value = NOT_BUILT if self.value is None else f"{self.value:.3f}"
        return [self.task, self.method, self.metric, value, interval, self.note]


def over_seeds(task: str, method: str, metric: str, values: Sequence[float], note: str = "") -> Cell:
    """The mean over seeds with the 95 % interval of that mean (Student's t), which ends at 1 as accuracy and R2 do."""
    mean = float(np.mean(values))
    half = _T[len(values) - 1] * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Cell(task, method, metric, mean, mean - half, min(mean + half, 1.0), note or f"{len(values)} seeds")


class Zoo:
    """A throw-away home, asked through the command line."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def run(self, *arguments: str) -> str:
        """What a command prints; a failure ends the benchmark with the command's own words."""
        with _environment({"HEADSTOCK_HOME": str(self.home)}):
            done = CliRunner().invoke(cli, arguments)
        if done.exit_code:
            raise SystemExit(f"headstock {' '.join(arguments)}\n{done.output}{done.exception or ''}")
        return done.stdout

    def fine_tune(self, backbone: str, head: str, data: Path, name: str, *options: str) -> dict[str, Any]:
        """The report of a fine-tune on a table whose column `split` says train or validation."""
        base = (
            "--backbone",
            backbone,
            "--head",
            head,
            "--data",
            str(data),
            "--name",
            name,
            "--format",
            "json",
        )
        report: dict[str, Any] = json.loads(self.run("fine-tune", *base, "--split-column", "split", *options))
        return report


def metric(report: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A metric of a fine-tune's report: `value`, `low`, `high`."""
    found: dict[str, Any] = next(m for m in report["metrics"] if m["name"] == name)
    return found


def held_out(rows: int, seed: int, labels: Sequence[Any] | None = None, train: int | None = None) -> np.ndarray:
    """True for the rows that validate, drawn per class where there are classes; `train` rows per class learn."""
    random = np.random.default_rng([seed, 11])
    chosen = np.zeros(rows, bool)
    groups = np.zeros(rows) if labels is None else np.asarray(labels)
    for group in sorted(set(groups.tolist())):
        members = random.permutation(np.flatnonzero(groups == group))
        count = round(SHARE * len(members)) if train is None else len(members) - train
        chosen[members[:count]] = True
    return chosen


def write_split(path: Path, columns: Mapping[str, Sequence[Any]], validates: np.ndarray) -> Path:
    """A CSV file of these columns and `split`."""
    sides = ["validation" if v else "train" for v in validates]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "split"])
        writer.writerows(zip(*columns.values(), sides, strict=True))
    return path


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
