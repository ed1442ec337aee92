"""How often the flag of label shift is raised where there is none, and where there is one, on sets of several kinds.

Every set is split anew for each seed into source and target; the target's rows are moved or left as they are, and its
classes drawn in other shares or not. The limits of `headstock.adaptation.label_shift` were chosen on the sets of
`CHOSEN_ON`; what the others give is the measure. Nothing here sees a label of the target but to say what was true.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from _common import report
from _quality_docstrings import docstrings
from headstock.adaptation import label_shift as limits
from headstock.adaptation.domains import Domains
from headstock.adaptation.label_shift import Answers, label_shift
from headstock.adaptation.settings import settings
from headstock.adaptation.task import METHODS
from headstock.adaptation.training import logits_of, train_adapted
from headstock.adaptation.validators import agreement
from headstock.metrics import wilson

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

CHOSEN_ON = ("wine", "digits")
REPORTED_ON = ("iris", "breast cancer", "docstrings")
SHIFTS = ("none", "moderate", "strong")
CHANGES = ("as it is", "moved")
SEEDS = 3
"""Runs of each method, as many as `headstock adapt` makes by default."""
MOST_ROWS = 600
"""Of a set in one run."""
TRIED = (0.2, 0.4, 0.6, 0.8)
"""Agreements from which a method may be asked, to see what the limit does."""


@dataclass(frozen=True, slots=True)
class Run:
    """One split of one set, judged as `headstock adapt` judges it."""

    data: str
    change: str
    shift: str
    seed: int
    truth: float
    """Total variation between the class shares of the source's training rows and of the target, from its labels."""
    rows: tuple[int, int, int]
    """Training rows, held-out rows, target rows."""
    found: Mapping[str, tuple[float, float, float] | None]
    """Value and interval by the agreement that a method needs to be asked; None where none was asked."""


def sets() -> Mapping[str, Callable[[], tuple[Floats, Labels]]]:
    """Features [n, d] and classes [n] by name, each column with mean 0 and variance 1."""
    from sklearn import datasets

    def table(load: Callable[..., Any]) -> Callable[[], tuple[Floats, Labels]]:
        return lambda: _standardised(*load(return_X_y=True))

    return {
        "wine": table(datasets.load_wine),
        "digits": table(datasets.load_digits),
        "iris": table(datasets.load_iris),
        "breast cancer": table(datasets.load_breast_cancer),
        "docstrings": _docstrings,
    }


def _docstrings() -> tuple[Floats, Labels]:
    """The four commonest packages' docstrings as 32 latent dimensions of their TF-IDF."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts, labels = docstrings(200)
    names, counts = np.unique(labels, return_counts=True)
    wanted = [str(name) for name in names[np.argsort(-counts, kind="stable")][:4]]
    kept = [i for i, label in enumerate(labels) if label in wanted]
    words = TfidfVectorizer(sublinear_tf=True, min_df=2).fit_transform([texts[i] for i in kept])
    features = TruncatedSVD(32, random_state=0).fit_transform(words)
    return _standardised(features, np.array([wanted.index(labels[i]) for i in kept]))


def _standardised(features: Any, labels: Any) -> tuple[Floats, Labels]:
    values = np.asarray(features, np.float64)
    values = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-9)
    return values.astype(np.float32), np.asarray(labels, np.int64)


def drawn(features: Floats, labels: Labels, change: str, shift: str, seed: int) -> tuple[Domains, Labels]:
    """Domains, and the target's classes."""
    dice = np.random.default_rng([41, seed])
    order = dice.permutation(len(labels))[:MOST_ROWS]
    half = len(order) // 2
    source, target = order[:half], order[half:]
    target = target[_shifted(labels[target], shift, dice)]
    cut = round(0.8 * half)
    train, held = source[:cut], source[cut:]
    rows = features[target]
    if change == "moved":
        # Other gains and offsets per column, and noise: as another sensor has, or another lab.
        rows = rows * dice.uniform(0.6, 1.4, rows.shape[1]) + dice.normal(0, 0.5, rows.shape[1])
        rows = rows + dice.normal(0, 0.3, rows.shape)
    classes = int(labels.max()) + 1
    domains = Domains(features[train], labels[train], features[held], labels[held], rows.astype(np.float32), classes)
    return domains, labels[target]


def _shifted(labels: Labels, shift: str, dice: np.random.Generator) -> npt.NDArray[np.int64]:
    """Places in `labels` to keep: all; a random half of the classes at a third; or that half hardly at all."""
    share = {"none": 1.0, "moderate": 1 / 3, "strong": 0.05}[shift]
    classes = dice.permutation(int(labels.max()) + 1)
    rare = classes[: max(1, len(classes) // 2)]
    return np.flatnonzero(~np.isin(labels, rare) | (dice.random(len(labels)) < share))


def judged(domains: Domains) -> list[Answers]:
    """What every method answers, over `SEEDS` seeds, as `headstock adapt` trains them by default."""
    found = []
    for method in METHODS:
        heads = [train_adapted(method, domains, seed, settings()) for seed in range(SEEDS)]
        seen = domains.view(method, domains.held_out)
        inside = [logits_of(head, seen).argmax(axis=1) for head in heads]
        target = [logits_of(head, domains.target).argmax(axis=1) for head in heads]
        found.append(Answers(method, agreement(target), inside, target))
    return found


def measured(data: str, features: Floats, labels: Labels, change: str, shift: str, seed: int) -> Run:
    """One run."""
    domains, truth = drawn(features, labels, change, shift, seed)
    answers = judged(domains)
    found: dict[str, tuple[float, float, float] | None] = {}
    for least in (*TRIED, limits.AGREED):
        # Those that agree enough pass whatever limit the module has.
        asked = [Answers(a.method, 1.0, a.inside, a.target) for a in answers if a.agreement >= least]
        told = label_shift(asked, domains.truth, domains.labels, domains.classes)
        found[str(least)] = None if told.value is None else (told.value, told.low or 0.0, told.high or 0.0)
    shares = [np.bincount(one, minlength=domains.classes) / len(one) for one in (domains.labels, truth)]
    variation = float(np.abs(shares[0] - shares[1]).sum() / 2)
    return Run(data, change, shift, seed, variation, (len(domains.labels), len(domains.truth), len(truth)), found)


def rates(runs: Sequence[Run], agreed: float, lost: float) -> dict[str, dict[str, Any]]:
    """Share of runs flagged by kind of shift, with its Wilson interval, and how many had no method to ask."""
    table = {}
    for shift in SHIFTS:
        of_kind = [run for run in runs if run.shift == shift]
        told = [run.found[str(agreed)] for run in of_kind]
        flagged = sum(one is not None and one[1] > lost for one in told)
        rate = wilson("flagged", flagged, len(of_kind))
        table[shift] = {
            "runs": len(of_kind),
            "flagged": rate.value,
            "low": rate.low,
            "high": rate.high,
            "not asked": sum(one is None for one in told),
            "truth": float(np.mean([run.truth for run in of_kind])),
            "estimate": float(np.mean([one[0] for one in told if one is not None] or [np.nan])),
        }
    return table


def by_truth(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Runs and those flagged, by what the labels say of the target."""
    table = []
    for low, high in ((0.0, 0.15), (0.15, 0.3), (0.3, 0.45), (0.45, 1.0)):
        told = [run.found[str(limits.AGREED)] for run in runs if low <= run.truth < high]
        flagged = sum(one is not None and one[1] > limits.LOST for one in told)
        table.append({"from": low, "to": high, "runs": len(told), "flagged": flagged})
    return table


def _plan(seeds: int) -> Iterator[tuple[str, str, str, int]]:
    yield from itertools.product((*CHOSEN_ON, *REPORTED_ON), CHANGES, SHIFTS, range(seeds))


def main() -> None:
    """Measure all and show it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="splits of each set, change and shift (default 5)")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    began = time.process_time()
    loaded = {name: load() for name, load in sets().items()}
    runs = [measured(d, *loaded[d], change, shift, seed) for d, change, shift, seed in _plan(asked.seeds)]
    seconds = time.process_time() - began
    show(runs, tuple(loaded), asked.seeds, seconds)


def show(runs: Sequence[Run], names: Sequence[str], seeds: int, seconds: float) -> None:
    """Print the rates, and write them with those by true variation and those of other limits."""
    halves = {"chosen on": CHOSEN_ON, "reported on": REPORTED_ON}
    groups = {**halves, **{name: (name,) for name in names}}
    results: dict[str, Any] = {"agreed": limits.AGREED, "lost": limits.LOST, "seeds": seeds, "cpu_s": seconds}
    rows = []
    for name, members in groups.items():
        of_group = [run for run in runs if run.data in members]
        results[name] = {**rates(of_group, limits.AGREED, limits.LOST), "by truth": by_truth(of_group)}
        rows += [
            [
                name, shift, one["runs"], f"{one['truth']:.2f}", f"{one['estimate']:.2f}",
                f"{one['flagged']:.0%} [{one['low']:.0%}, {one['high']:.0%}]", one["not asked"],
            ]
            for shift in SHIFTS
            for one in [results[name][shift]]
        ]  # fmt: skip
    results["other limits"] = []
    for agreed, lost in itertools.product(TRIED, (0.05, 0.1, 0.15, 0.2)):
        found: dict[str, Any] = {"agreed": agreed, "lost": lost}
        for name, members in halves.items():
            told = rates([run for run in runs if run.data in members], agreed, lost)
            found[name] = {shift: round(one["flagged"], 4) for shift, one in told.items()}
        results["other limits"].append(found)
    headers = ["sets", "shift", "runs", "true variation", "estimate", "flagged", "not asked"]
    report(f"label shift flagged, {seeds} splits each, {seconds:.0f} CPU s", headers, rows, results)


if __name__ == "__main__":
    main()
