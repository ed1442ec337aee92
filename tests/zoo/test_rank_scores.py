"""Ranking scores against closed forms, and against the static list on a small zoo of known worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstock.ranking.agreement import top_regret, weighted_tau
from headstock.ranking.scores import h_score, knn_hits, logme, one_hot, probe_hits, ridge_errors
from headstock.ranking.verdict import combined, ranks, standings


def test_nearest_neighbour_leaves_the_row_itself_out() -> None:
    features = np.array([[1.0, 0.0], [0.9, 0.1], [-1.0, 0.0], [-0.9, 0.1]])
    assert knn_hits(features, np.array([0, 0, 1, 1])).tolist() == [1, 1, 1, 1]
    assert knn_hits(features, np.array([0, 1, 0, 1])).tolist() == [0, 0, 0, 0]


def test_logme_is_the_largest_evidence_that_a_search_over_both_precisions_finds() -> None:
    random = np.random.default_rng(0)
    features = random.standard_normal((30, 4))
    target = features @ np.array([1.0, -1.0, 0.5, 0.0]) + 0.3 * random.standard_normal(30)

    def evidence(log_prior: float, log_noise: float) -> float:
        covariance = np.exp(-log_noise) * np.eye(30) + np.exp(-log_prior) * features @ features.T
        _, determinant = np.linalg.slogdet(covariance)
        return float(-(target @ np.linalg.solve(covariance, target) + determinant + 30 * np.log(2 * np.pi)) / 60)

    grid = max(evidence(a, b) for a in np.linspace(-3, 3, 61) for b in np.linspace(0, 5, 51))
    found = logme(features, target[:, None])
    assert found == pytest.approx(grid, abs=1e-3)
    assert found >= grid - 1e-6


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (20, 20)])
def test_logme_is_finite_for_wide_and_tall_features_and_prefers_those_that_tell(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    classes = np.arange(shape[0]) % 2
    noise = random.standard_normal(shape)
    telling = noise + np.outer(2.0 * classes - 1, np.ones(shape[1]))
    assert np.isfinite(logme(noise, one_hot(classes)))
    assert logme(telling, one_hot(classes)) > logme(noise, one_hot(classes))
    assert h_score(telling, classes) > 0


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_ranks_sum_to_what_places_sum_to_and_larger_is_nearer_to_one(values: list[int]) -> None:
    found = ranks(values)
    assert found.sum() == pytest.approx(len(values) * (len(values) + 1) / 2)
    assert all((found[i] < found[j]) == (values[i] > values[j]) for i in range(len(values)) for j in range(len(values)))


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_regret_is_never_negative_and_zero_for_one_that_always_wins(seed: int) -> None:
    random = np.random.default_rng(seed)
    hits = (random.random(30) < 0.6).astype(float)
    places = standings([[np.ones(30)], [hits]], None, seed)
    assert places[0].regret.high == 0
    assert places[1].regret.low >= 0
    assert sum(place.best for place in places) == pytest.approx(1)


def test_expected_regret_of_an_equal_pair_is_zero_and_of_a_worse_one_its_gap() -> None:
    hits, worse = np.repeat([1.0, 0.0], [80, 20]), np.repeat([1.0, 0.0], [60, 40])
    first, second, last = standings([[hits], [hits], [worse]], None, 0)
    assert first.regret.value == second.regret.value == 0
    assert first.best == second.best == pytest.approx(0.5)
    assert last.regret.value == pytest.approx(0.2, abs=0.01)


def test_ridge_errors_are_small_only_where_features_tell_the_target() -> None:
    random = np.random.default_rng(0)
    features = random.standard_normal((60, 5))
    target = features[:, 0]
    assert ridge_errors(features, target, 0).mean() < 0.01 < ridge_errors(features[::-1].copy(), target, 0).mean()


def test_neighbours_and_the_ensemble_order_a_small_zoo_better_than_size_does() -> None:
    """Six trained nets, a full grid of widths and upstream tasks that nobody picked, over three tasks of 60 labels.

    A smaller sibling of benchmarks/rank.py: the truth is the probe's accuracy on the rest.
    """
    import torch
    from sklearn.datasets import load_digits

    from headstock.report.probe import probe
    from headstock.testing.nets import pretrain

    pixels, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(digits))
    pixels, digits = (pixels[order] / 16).astype(np.float32), digits[order].astype(np.int64)
    zoo = []
    for width in (16, 64, 256):
        for known in (10, 5):
            rows = np.flatnonzero(digits[:700] < known)
            net = pretrain((64, width, width), pixels[rows], digits[rows], 30, seed=0)
            with torch.no_grad():
                zoo.append((net.network()(torch.from_numpy(pixels[700:]))["features"].numpy(), float(width)))
    found: dict[str, list[tuple[float, float]]] = {"knn": [], "ensemble": [], "size": []}
    for target in (digits[700:] % 2, np.isin(digits[700:], (2, 3, 5, 7)).astype(np.int64), digits[700:]):
        few, rest = slice(0, 60), slice(60, None)
        truth = [
            float((probe("classification", made[few], target[few], made[rest], 0) == target[rest]).mean())
            for made, _ in zoo
        ]
        knn = [float(knn_hits(made[few], target[few]).mean()) for made, _ in zoo]
        evidence = [logme(made[few], one_hot(target[few])) for made, _ in zoo]
        hits = [float(probe_hits(made[few], target[few], 0).mean()) for made, _ in zoo]
        scores = {"knn": knn, "ensemble": list(-combined([knn, evidence, hits])), "size": [size for _, size in zoo]}
        for name, one in scores.items():
            found[name].append((weighted_tau(one, truth), top_regret(one, truth)))
    tau, regret = ({name: float(np.mean([cell[i] for cell in cells])) for name, cells in found.items()} for i in (0, 1))
    for name in ("knn", "ensemble"):
        assert tau[name] > tau["size"], (tau, regret)
        assert regret[name] <= regret["size"], (tau, regret)
