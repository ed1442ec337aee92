"""How well each score orders a zoo of small nets for new data: weighted tau and top-1 regret against real transfer.

Twelve nets differ in size, in what they were trained on and in how long; each is asked for 60 labels of the target task
(parity of digits), and the truth is the accuracy that a linear probe on those labels has on the rest. The target to
meet: nearest neighbours (leave-one-out) order better than the static list that puts the largest net first.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from _common import report
from headstock.ranking.agreement import top_regret, weighted_tau
from headstock.ranking.scores import h_score, knn_hits, logme, one_hot, probe_hits
from headstock.ranking.verdict import combined

REPEATS, LABELS = 6, 60
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Net:
    """How one net of the zoo comes to be."""

    width: int
    layers: int
    epochs: int
    classes: int
    """Digits below this were its upstream task."""


ZOO = (
    Net(8, 1, 60, 10), Net(16, 1, 0, 10), Net(16, 1, 60, 10), Net(32, 1, 60, 10), Net(64, 1, 60, 10),
    Net(128, 1, 0, 10), Net(256, 1, 60, 10), Net(32, 2, 60, 2), Net(64, 2, 60, 10), Net(128, 2, 5, 10),
    Net(64, 1, 60, 5), Net(128, 2, 60, 5),
)  # fmt: skip
"""Size says something about quality here, as it does in real zoos; a net that learned nothing comes small and large."""


def train(net: Net, pixels: Floats, digits: Ints, seed: int) -> tuple[torch.nn.Module, int]:
    """The net without its last layer, and its size."""
    torch.manual_seed(seed)
    sizes = [pixels.shape[1], *[net.width] * net.layers]
    body = torch.nn.Sequential(*[part for a, b in pairwise(sizes) for part in (torch.nn.Linear(a, b), torch.nn.ReLU())])
    top = torch.nn.Linear(net.width, net.classes)
    known = digits < net.classes
    inputs, targets = torch.from_numpy(pixels[known]), torch.from_numpy(digits[known])
    optimizer = torch.optim.Adam([*body.parameters(), *top.parameters()], lr=3e-3)
    for _ in range(net.epochs):
        for batch in torch.randperm(len(inputs)).split(64):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(top(body(inputs[batch])), targets[batch]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return body, sum(p.numel() for p in body.parameters())


def features_of(body: torch.nn.Module, pixels: Floats) -> Floats:
    """What the net makes of images [n, width]."""
    with torch.no_grad():
        found: Floats = body(torch.from_numpy(pixels)).numpy()
    return found


def repeat(seed: int) -> dict[str, tuple[float, float]]:
    """Weighted tau and top-1 regret (points of accuracy) of every score, for one draw of everything."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    pixels, names = (digits.data[order] / 16).astype(np.float32), digits.target[order].astype(np.int64)
    upstream, labelled, unseen = np.split(np.arange(len(order)), [700, 700 + LABELS])
    target = names % 2
    scores: dict[str, list[float]] = {}
    truth: list[float] = []
    for place, net in enumerate(ZOO):
        body, size = train(net, pixels[upstream], names[upstream], 100 * seed + place)
        few, rest = features_of(body, pixels[labelled]), features_of(body, pixels[unseen])
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=10.0 / net.width, max_iter=1000))
        truth.append(float(probe.fit(few, target[labelled]).score(rest, target[unseen])))
        for name, score in score_functions(few, target[labelled], size, seed).items():
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


def main() -> int:
    """Measure, print, return 0 if nearest neighbours beat the static list in both figures."""
    torch.set_num_threads(1)
    found = [repeat(seed) for seed in range(REPEATS)]
    means = {name: tuple(np.mean([one[name] for one in found], axis=0)) for name in found[0]}
    report(
        f"{len(ZOO)} nets, {LABELS} target labels, mean of {REPEATS} repeats",
        ["score", "weighted tau", "top-1 regret, points"],
        [[name, f"{tau:.2f}", f"{regret:.1f}"] for name, (tau, regret) in means.items()],
        {"scores": {name: {"weighted_tau": float(t), "regret": float(r)} for name, (t, r) in means.items()}},
    )
    neighbours, static = means["kNN-LOO"], means["static size"]
    better = neighbours[0] > static[0] and neighbours[1] < static[1]
    print(f"kNN-LOO against the static size list: {'better in both' if better else 'NOT better in both'}")
    return 0 if better else 1


if __name__ == "__main__":
    sys.exit(main())
