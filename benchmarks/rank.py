"""How well each score orders a zoo of small nets for new tasks: weighted tau and top-1 regret against real transfer.

The zoo is a full grid, so that nobody picked its nets: three widths, two upstream tasks, two lengths of training. Each
of six target tasks gives 60 labels; the truth is the accuracy that the report's linear probe, trained on these, has on
the rest. The target to meet: nearest neighbours (leave-one-out) order better than the static list that puts the largest
net first.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from itertools import product

import numpy as np
import numpy.typing as npt
import torch

from _common import report
from headstock.ranking.agreement import top_regret, weighted_tau
from headstock.ranking.scores import h_score, knn_hits, logme, one_hot, probe_hits
from headstock.ranking.verdict import combined
from headstock.report.probe import probe
from headstock.testing.nets import pretrain

LABELS = 60
WIDTHS, UPSTREAM, EPOCHS = (16, 64, 256), (10, 5), (5, 60)
"""Width of both layers; digits below this were the upstream task; epochs on it."""
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
TASKS: Mapping[str, Callable[[Ints], Ints]] = {
    "parity": lambda d: d % 2,
    "five or more": lambda d: (d >= 5).astype(np.int64),
    "with a loop": lambda d: np.isin(d, (0, 6, 8, 9)).astype(np.int64),
    "prime": lambda d: np.isin(d, (2, 3, 5, 7)).astype(np.int64),
    "rest by three": lambda d: d % 3,
    "which digit": lambda d: d,
}


def main() -> int:
    """Measure, print, return 0 if nearest neighbours beat the static list in both figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="draws of rows, nets and labels")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    began = time.process_time()
    cells = [found for seed in range(repeats) for found in repeat(seed)]
    means = {name: tuple(np.mean([cell[name] for cell in cells], axis=0)) for name in cells[0]}
    seconds = time.process_time() - began
    nets = len(WIDTHS) * len(UPSTREAM) * len(EPOCHS)
    report(
        f"{nets} nets, {len(TASKS)} tasks of {LABELS} labels, mean of {repeats} repeats, {seconds:.0f} CPU s",
        ["score", "weighted tau", "top-1 regret, points"],
        [[name, f"{tau:.2f}", f"{regret:.1f}"] for name, (tau, regret) in means.items()],
        {"scores": {name: {"weighted_tau": float(t), "regret": float(r)} for name, (t, r) in means.items()}},
    )
    neighbours, static = means["kNN-LOO"], means["static size"]
    better = neighbours[0] > static[0] and neighbours[1] < static[1]
    print(f"kNN-LOO against the static size list: {'better in both' if better else 'NOT better in both'}")
    return 0 if better else 1


def repeat(seed: int) -> list[dict[str, tuple[float, float]]]:
    """For every task, weighted tau and top-1 regret (points of accuracy) of every score."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    pixels, names = (digits.data[order] / 16).astype(np.float32), digits.target[order].astype(np.int64)
    upstream, rest = np.split(np.arange(len(order)), [700])
    zoo = [features(pixels, names, upstream, *net, seed) for net in product(WIDTHS, UPSTREAM, EPOCHS)]
    return [judged(zoo, rest, task(names), seed) for task in TASKS.values()]


def features(
    pixels: Floats, digits: Ints, upstream: Ints, width: int, classes: int, epochs: int, seed: int
) -> tuple[Floats, int]:
    """What a net makes of all images [n, width], and its parameters."""
    known = upstream[digits[upstream] < classes]
    trained = pretrain((pixels.shape[1], width, width), pixels[known], digits[known], epochs, seed)
    with torch.no_grad():
        made: Floats = trained.network()(torch.from_numpy(pixels))["features"].numpy()
    return made, sum(value.numel() for value in trained.weights.values())


def judged(zoo: list[tuple[Floats, int]], rows: Ints, target: Ints, seed: int) -> dict[str, tuple[float, float]]:
    """Of one task: each score's order of the zoo against what the probe really reaches."""
    labelled, unseen = rows[:LABELS], rows[LABELS:]
    scores: dict[str, list[float]] = {}
    truth: list[float] = []
    for made, size in zoo:
        answers = probe("classification", made[labelled], target[labelled], made[unseen], seed)
        truth.append(float((answers == target[unseen]).mean()))
        for name, score in score_functions(made[labelled], target[labelled], size, seed).items():
            scores.setdefault(name, []).append(score())
    parts = [scores[name] for name in ("kNN-LOO", "LogME", "LP-CV")]
    scores["ensemble (headstock rank)"] = (-combined(parts)).tolist()
    scores["ensemble with static size"] = (-combined([*parts, scores["static size"]])).tolist()
    return {name: (weighted_tau(one, truth), 100 * top_regret(one, truth)) for name, one in scores.items()}


def score_functions(few: Floats, target: Ints, size: int, seed: int) -> dict[str, Callable[[], float]]:
    """The scores that are compared, by name."""
    return {
        "kNN-LOO": lambda: float(knn_hits(few, target).mean()),
        "LogME": lambda: logme(few, one_hot(target)),
        "LP-CV": lambda: float(probe_hits(few, target, seed).mean()),
        "H-score": lambda: h_score(few, target),
        "static size": lambda: float(size),
    }


if __name__ == "__main__":
    sys.exit(main())
