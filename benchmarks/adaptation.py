"""Domain adaptation on digits whose domain is changed on purpose: target accuracy of every method over seeds.

Labels of the target are used for this table alone; what is chosen and what the gate says is decided without them. The
directions that are known beforehand are asserted; the exit code says if one is missed.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import rotate
from sklearn.datasets import load_digits

from _common import report
from headstock.adaptation.compare import Comparison, compare
from headstock.adaptation.domains import Domains
from headstock.adaptation.settings import settings
from headstock.adaptation.training import logits_of, train_adapted

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Change = Callable[[Floats, np.random.Generator], Floats]

SEEDS = tuple(range(10))
JUDGED = SEEDS[:3]
"""As many as `headstock adapt` runs by default; what is chosen and what the gate says comes of these."""
METHODS = ("coral", "mcc", "dann", "mmd", "importance")
SETTINGS = settings(epochs=30)


@dataclass(frozen=True)
class Fixture:
    """A change of the domain with what is known of it."""

    change: Change
    classes: int = 10
    """Digits below this are in the target."""
    gains: tuple[str, float] | None = None
    """A method and the points that it must gain over source-only in every seed."""
    verdict: str | None = None
    label_shift: bool | None = None


def _contrast(images: Floats, dice: np.random.Generator) -> Floats:
    return np.asarray(0.3 * images + 0.6 + dice.normal(0, 0.12, images.shape), np.float32)


def _rotated(images: Floats, dice: np.random.Generator) -> Floats:
    return np.asarray(rotate(images, 25, axes=(2, 1), reshape=False, order=1), np.float32)


def _inverted(images: Floats, dice: np.random.Generator) -> Floats:
    return 1 - images


def _background(images: Floats, dice: np.random.Generator) -> Floats:
    return np.asarray(np.abs(images - dice.uniform(0, 1, images.shape)), np.float32)


FIXTURES = {
    "contrast + noise": Fixture(_contrast, gains=("coral", 30), verdict="adapted", label_shift=False),
    "rotated by 25 degrees": Fixture(_rotated, gains=("mcc", 20), verdict="adapted", label_shift=False),
    "contrast, digits 0-2 only": Fixture(_contrast, classes=3, label_shift=True),
    "rotated, digits 0-2 only": Fixture(_rotated, classes=3, label_shift=True),
    "inverted": Fixture(_inverted, verdict="adaptation failed"),
    "random background": Fixture(_background, verdict="adaptation failed"),
}


def main() -> int:
    """Measure, print and judge; 0 if every direction is as expected."""
    torch.set_num_threads(1)
    began = time.process_time()
    rows, results, missed = [], {}, []
    for name, fixture in FIXTURES.items():
        domains, truth = _digits(fixture)
        scores = {m: _accuracies(m, domains, truth) for m in ("source-only", *METHODS)}
        found = compare(domains, METHODS, JUDGED, SETTINGS)
        for method, values in scores.items():
            gains = values - scores["source-only"]
            judged = next(score for score in found.scores if score.method == method)
            notes = [*(["chosen"] if method == found.chosen else []), *([] if judged.stable else ["unstable"])]
            spread = f"{values.min():.1f} to {values.max():.1f}"
            gain = f"{gains.mean():+.1f} ({gains.min():+.1f})"
            rows.append(
                [name, method, f"{values.mean():.1f}", spread, gain, f"{judged.agreement:.2f}", " ".join(notes)]
            )
        missed += _missed(name, fixture, scores, found)
        results[name] = {
            "target_accuracy": {method: values.tolist() for method, values in scores.items()},
            "verdict": found.verdict,
            "chosen": found.chosen,
            "label_shift": found.label_shift.to_json(),
            "unstable": [score.method for score in found.scores if not score.stable],
            "agreement": {score.method: score.agreement for score in found.scores},
            "information": {score.method: score.information for score in found.scores},
        }
        print(f"{name}: {found.verdict}, {found.chosen} chosen, label shift {found.label_shift.flagged}", flush=True)
    headers = ["target", "method", "accuracy %", "over seeds", "gain (worst seed)", "kappa of seeds", ""]
    seconds = time.process_time() - began
    title = f"domain adaptation, {len(SEEDS)} seeds, {seconds:.0f} CPU s"
    report(
        title,
        headers,
        rows,
        {"seeds": list(SEEDS), "judged": list(JUDGED), "cpu_s": seconds, "missed": missed, "fixtures": results},
    )
    for line in missed:
        print(f"MISSED: {line}")
    return 1 if missed else 0


def _missed(name: str, fixture: Fixture, scores: dict[str, Floats], found: Comparison) -> list[str]:
    lines = []
    if fixture.gains is not None:
        method, points = fixture.gains
        least = float((scores[method] - scores["source-only"]).min())
        if least <= points:
            lines.append(f"{name}: {method} gains {least:.1f} points in its worst seed; expected more than {points}")
    if fixture.verdict is not None and found.verdict != fixture.verdict:
        lines.append(f"{name}: the verdict is {found.verdict!r}; expected {fixture.verdict!r}")
    if fixture.label_shift is not None and found.label_shift.flagged != fixture.label_shift:
        lines.append(f"{name}: label shift is {found.label_shift.flagged}; expected {fixture.label_shift}")
    return lines


def _accuracies(method: str, domains: Domains, truth: Labels) -> Floats:
    """Per cent of target rows that are right, one value per seed."""
    heads = [train_adapted(method, domains, seed, SETTINGS) for seed in SEEDS]
    return np.array([100 * (logits_of(h, domains.target).argmax(axis=1) == truth).mean() for h in heads], np.float32)


def _digits(fixture: Fixture) -> tuple[Domains, Labels]:
    """Domains, and the target's true classes."""
    data, dice = load_digits(), np.random.default_rng(0)
    images, truth = (data.images / 16).astype(np.float32), data.target.astype(np.int64)
    order = dice.permutation(len(images))
    train, held, other = order[:700], order[700:900], order[900:]
    changed = fixture.change(images[other], dice).reshape(-1, 64).astype(np.float32)
    kept = truth[other] < fixture.classes
    flat = images.reshape(-1, 64)
    return Domains(flat[train], truth[train], flat[held], truth[held], changed[kept], 10), truth[other][kept]


if __name__ == "__main__":
    sys.exit(main())
