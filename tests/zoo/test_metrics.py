"""Figures against the libraries of their fields, by hand where there is none, and honest where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest

from headstock import metrics
from headstock.errors import InvalidInput


def test_multi_label_figures_are_scikit_learns() -> None:
    from sklearn.metrics import average_precision_score, f1_score

    random = np.random.default_rng(0)
    truth = random.random((80, 5)) < 0.3
    scores = (random.standard_normal((80, 5)) + 2 * truth).astype(np.float32)
    micro, macro, mean_precision = metrics.multi_label(scores, truth, 0.5, 0)
    predicted = scores > 0.5
    assert micro.value == pytest.approx(f1_score(truth, predicted, average="micro"))
    assert macro.value == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert mean_precision.value == pytest.approx(average_precision_score(truth, scores, average="macro"))


def test_regression_figures_are_scikit_learns() -> None:
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    random = np.random.default_rng(1)
    truth = random.standard_normal(90) * 3 + 1e4
    predicted = truth + random.standard_normal(90)
    r2, mae, rmse = metrics.regression(predicted, truth, 0)
    assert r2.value == pytest.approx(r2_score(truth, predicted))
    assert mae.value == pytest.approx(mean_absolute_error(truth, predicted))
    assert rmse.value == pytest.approx(root_mean_squared_error(truth, predicted))
    assert r2.low < r2.value < r2.high


def test_r2_of_equal_targets_is_nothing() -> None:
    assert metrics.regression(np.zeros(5), np.ones(5), 0)[0].value == 0.0


@pytest.mark.parametrize("seed", range(4))
def test_edit_distance_is_the_recursive_definition(seed: int) -> None:
    from functools import lru_cache

    random = np.random.default_rng(seed)
    one, other = ("".join(random.choice(list("abc"), random.integers(0, 9))) for _ in range(2))

    @lru_cache(None)
    def distance(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        same = one[i - 1] == other[j - 1]
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, distance(i - 1, j - 1) + (not same))

    assert metrics.edit_distance(one, other) == distance(len(one), len(other))


def test_word_and_character_error_rates_count_over_all_rows() -> None:
    """Not the mean of the rows' rates: a short row weighs little. Spaces at the ends and in rows do not count."""
    right, wer, cer = metrics.transcription(["the cat", " a  b "], ["the hat sat", "a b"], 0)
    assert (right.name, wer.name, cer.name) == ("character_accuracy", "wer", "cer")
    assert wer.value == pytest.approx(2 / 5)
    assert cer.value == pytest.approx(5 / 14)
    assert right.value == pytest.approx(1 - cer.value)
    assert right.low <= right.value <= right.high


def test_spans_count_only_when_exact() -> None:
    """By hand: one exact, one of the wrong type, one missed, one invented."""
    found = [[(0, 4, "PER"), (9, 12, "LOC")], [(3, 5, "ORG")]]
    true = [[(0, 4, "PER"), (9, 12, "ORG")], []]
    f1, precision, recall = metrics.spans(found, true, 0)
    assert precision.value == pytest.approx(1 / 3)
    assert recall.value == pytest.approx(1 / 2)
    assert f1.value == pytest.approx(2 / 5)


def test_answers_are_judged_as_squad_does() -> None:
    """Case, punctuation and articles do not count; the best of several true answers does; none is right for none."""
    f1, exact = metrics.answers(
        ["The Eiffel tower!", "in Paris", "", "x"], [["eiffel tower"], ["Paris", "Lyon"], [], []], 0
    )
    assert exact.value == pytest.approx(2 / 4)
    assert f1.value == pytest.approx((1 + 2 / 3 + 1 + 0) / 4)


@pytest.mark.parametrize("truth", [[True] * 4, [False] * 4])
def test_ranking_without_both_classes_says_that_it_knows_nothing(truth: list[bool]) -> None:
    found = metrics.auroc(np.arange(4.0), np.array(truth), 0)
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)


def test_scores_that_are_all_equal_rank_by_chance() -> None:
    truth = np.array([True, False, False, True])
    assert metrics.auroc(np.zeros(4), truth, 0).value == 0.5
    assert metrics.auprc(np.full(4, np.nan), truth, 0).value == 0.5


def test_a_bootstrap_ratio_covers_the_truth_about_as_often_as_it_says() -> None:
    """Of 100 samples of 60 rows, the 95 % interval holds the true ratio in 88 to 99 %."""
    random = np.random.default_rng(5)
    held = 0
    for seed in range(100):
        below = random.integers(1, 9, 60)
        metric = metrics.ratio("r", random.binomial(below, 0.3), below, seed)
        held += metric.low <= 0.3 <= metric.high
    assert 88 <= held <= 99


def test_no_rows_are_no_measurement() -> None:
    for figure in (
        lambda: metrics.regression(np.array([]), np.array([]), 0),
        lambda: metrics.multi_label(np.zeros((0, 2)), np.zeros((0, 2), bool), 0.5, 0),
        lambda: metrics.transcription([], [], 0),
        lambda: metrics.spans([], [], 0),
        lambda: metrics.answers([], [], 0),
        lambda: metrics.auroc(np.array([]), np.array([], bool), 0),
    ):
        with pytest.raises(InvalidInput, match="no rows to measure"):
            figure()
