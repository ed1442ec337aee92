"""Which strategy keeps what was learned: digits of ten classes upstream, their parity from 20 labels, 8 seeds.

A network of three dense layers, 700 upstream rows; judged on 600 clean rows and on the same rotated and noisy. The
directions are known (Kumar et al. 2022, Howard and Ruder 2018): gradual unfreezing with smaller rates below and LP-FT
beat fine-tuning in both columns, LP-FT is not worse than the probe on clean rows, and transfer beats scratch.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import sys
import time

import numpy as np

from _common import report
from headstock.testing.parity import LABELS, accuracies

STRATEGIES = ("scratch", "feature-extraction", "full", "lp-ft", "gradual", "l2-sp", "wise-ft")


CLEAN, MOVED = (0, "clean"), (1, "moved")
DIRECTIONS = (
    ("gradual", "full", (CLEAN, MOVED)),
    ("lp-ft", "full", (CLEAN, MOVED)),
    # On moved rows the two are too near for 8 seeds to tell apart.
    ("lp-ft", "feature-extraction", (CLEAN,)),
    ("full", "scratch", (CLEAN, MOVED)),
)


def main() -> int:
    """Measure, print, 0 if every direction is as expected."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    seeds = parser.parse_args().seeds
    began = time.process_time()
    runs = [accuracies(seed, STRATEGIES) for seed in range(seeds)]
    means = {name: np.mean([run[name] for run in runs], axis=0) for name in STRATEGIES}
    rows = [[name, f"{clean:.1f}", f"{moved:.1f}"] for name, (clean, moved) in means.items()]
    seconds = time.process_time() - began
    report(
        f"digits to parity, {LABELS} labels, mean of {seeds} seeds, {seconds:.0f} CPU s",
        ["strategy", "clean %", "rotated and noisy %"],
        rows,
        {"seeds": seeds, "cpu_s": seconds, "accuracy": {n: [run[n] for run in runs] for n in STRATEGIES}},
    )
    missed = [
        f"{better} is not above {worse} on {where} rows"
        for better, worse, columns in DIRECTIONS
        for column, where in columns
        if means[better][column] < means[worse][column]
    ]
    for line in missed or ["all directions are as expected"]:
        print(f"MISSED: {line}" if missed else line)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
