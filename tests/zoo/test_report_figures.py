"""The report's figures against hand-made cases whose answer is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from headstock.catalogue import Catalogue
from headstock.errors import FailedPrecondition, InvalidInput
from headstock.hookspecs import Metric
from headstock.metrics import wilson
from headstock.records import Version
from headstock.report.baselines import classical, subsample
from headstock.report.calibration import calibration, expected_calibration_error, fit_temperature
from headstock.report.features import cells
from headstock.report.gate import check_promotion
from headstock.report.groups import group_metrics
from headstock.report.probe import probe
from headstock.report.slices import slice_metrics
from headstock.report.verdict import paired_gain
from headstock.settings import Settings
from headstock.testing.toy import publish_toy


def accuracy_of(right: np.ndarray) -> Callable[[np.ndarray], Metric]:
    return lambda rows: wilson("accuracy", int(right[rows].sum()), int(rows.sum()))


def hits(pattern: str) -> np.ndarray:
    return np.array([c == "1" for c in pattern])


# ------------------------------------------------------------------------------------------------ verdict
def test_equal_answers_are_no_gain() -> None:
    gain = paired_gain(hits("1100"), hits("1100"))
    assert (gain.value, gain.word) == (0.0, "none")
    assert gain.low < 0 < gain.high


def test_the_verdict_needs_an_interval_without_zero() -> None:
    assert paired_gain(hits("1" * 30 + "0" * 10), hits("0" * 30 + "0" * 10)).word == "positive"
    assert paired_gain(hits("0" * 30 + "0" * 10), hits("1" * 30 + "0" * 10)).word == "negative"
    # The same share of two rows says nothing yet: four against none is p = 0.125 in McNemar's exact test.
    assert paired_gain(hits("00001111"), hits("11111111")).word == "none"


def test_gain_is_bonett_and_prices_interval() -> None:
    """n = 20, 6 won, 2 lost: (7 - 3) / 22 with standard error sqrt((10/22 - (4/22)^2) / 22)."""
    gain = paired_gain(hits("1" * 6 + "0" * 2 + "1" * 12), hits("0" * 6 + "1" * 2 + "1" * 12))
    half = 1.959964 * np.sqrt((10 / 22 - (4 / 22) ** 2) / 22)
    assert gain.value == pytest.approx(0.2)
    assert (gain.low, gain.high) == (pytest.approx(4 / 22 - half, abs=1e-6), pytest.approx(4 / 22 + half, abs=1e-6))


def test_no_rows_and_unequal_rows_are_refused() -> None:
    with pytest.raises(InvalidInput, match="expected equal numbers above 0"):
        paired_gain(hits(""), hits(""))
    with pytest.raises(InvalidInput, match="2 and 1 rows"):
        paired_gain(hits("11"), hits("1"))


# ------------------------------------------------------------------------------------------------ gate
@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    home = tmp_path_factory.mktemp("home")
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(home)})) as opened:
        publish_toy(opened)
        yield opened


def version(catalogue: Catalogue, verdict: str | None) -> Version:
    transfer = {"verdict": verdict, "gain": -0.2, "low": -0.3, "high": -0.1, "against": "TF-IDF"}
    return replace(catalogue.newest("sentiment"), details={} if verdict is None else {"transfer": transfer})


@pytest.mark.parametrize("verdict", ["positive", "none", "not measured", None])
def test_only_negative_transfer_is_stopped(catalogue: Catalogue, verdict: str | None) -> None:
    assert check_promotion(catalogue, version(catalogue, verdict), reason="why") == "why"


def test_negative_transfer_is_promoted_only_by_force_and_with_a_reason(catalogue: Catalogue) -> None:
    negative = version(catalogue, "negative")
    with pytest.raises(FailedPrecondition, match=r"'sentiment:1' has negative transfer: its accuracy is 0\.200 below"):
        check_promotion(catalogue, negative, reason="why")
    with pytest.raises(InvalidInput, match="--force needs a reason"):
        check_promotion(catalogue, negative, force=True)
    forced = check_promotion(catalogue, negative, force=True, reason="demo")
    assert forced == "forced past negative transfer: demo"


# ------------------------------------------------------------------------------------------------ calibration
def test_ece_is_the_distance_of_confidence_and_accuracy() -> None:
    probabilities = np.tile([0.8, 0.2], (10, 1))
    assert expected_calibration_error(probabilities, np.array([0] * 8 + [1] * 2)) == pytest.approx(0.0, abs=1e-12)
    assert expected_calibration_error(probabilities, np.array([0] * 5 + [1] * 5)) == pytest.approx(0.3)


def test_ece_bins_are_open_on_the_left() -> None:
    """A confidence of exactly 0.6 belongs to (8/15, 9/15], with 0.55 and not with 0.65: errors there cancel."""
    probabilities = np.array([[0.6, 0.4], [0.55, 0.45]])
    assert expected_calibration_error(probabilities, np.array([0, 1])) == pytest.approx(abs(1.15 - 1) / 2)


def test_temperature_scaling_repairs_overconfident_logits() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2000, 3))
    powers = np.exp(logits)
    truth = (powers.cumsum(axis=1) / powers.sum(axis=1, keepdims=True) < rng.random((2000, 1))).sum(axis=1)
    assert fit_temperature(logits * 4, truth) == pytest.approx(4, rel=0.15)
    found = calibration(logits * 4, truth, seed=0)
    assert found is not None
    assert found["after"]["value"] < 0.06 < 0.2 < found["before"]["value"]
    assert found["before"]["low"] <= found["before"]["value"] <= found["before"]["high"]


def test_too_few_rows_have_no_calibration() -> None:
    assert calibration(np.zeros((3, 2)), np.zeros(3, np.int64), seed=0) is None


# ------------------------------------------------------------------------------------------------ groups
def test_gaps_are_fairlearns() -> None:
    """Worked by hand: selection 3/4 and 1/4; true positives 2/2 and 1/2; false positives 1/2 and 0/2."""
    groups = ["a"] * 4 + ["b"] * 4
    truth = np.array([1, 1, 0, 0, 1, 1, 0, 0])
    predicted = np.array([1, 1, 1, 0, 1, 0, 0, 0])
    found = group_metrics(groups, predicted, truth, ["no", "yes"])
    yes = found["classes"]["yes"]
    assert yes["demographic_parity_difference"]["value"] == pytest.approx(0.5)
    assert yes["equalised_odds_difference"]["value"] == pytest.approx(0.5)
    assert (yes["demographic_parity_difference"]["most"], yes["demographic_parity_difference"]["least"]) == ("a", "b")
    assert not yes["demographic_parity_difference"]["flagged"]
    assert found["accuracy_gap"]["value"] == 0.0


def test_a_gap_is_flagged_where_intervals_do_not_overlap() -> None:
    groups = ["a"] * 50 + ["b"] * 50
    truth, predicted = np.ones(100, np.int64), np.array([1] * 50 + [0] * 50)
    assert group_metrics(groups, predicted, truth, ["no", "yes"])["accuracy_gap"]["flagged"]


def test_groups_without_positives_take_no_part_in_the_odds() -> None:
    found = group_metrics(["a", "a", "b"], np.array([1, 0, 0]), np.array([1, 0, 0]), ["no", "yes"])
    assert found["classes"]["yes"]["true_positive_rate"]["b"] is None
    assert found["classes"]["yes"]["equalised_odds_difference"]["value"] == 0.0
    assert group_metrics(["a"], np.array([0]), np.array([0]), ["no"])["accuracy_gap"] is None


# ------------------------------------------------------------------------------------------------ baselines
def test_the_text_baseline_learns_words() -> None:
    train = [f"{word} {i}" for i in range(20) for word in ("good", "bad")]
    labels = np.array([0, 1] * 20)
    assert classical("text", "classification", train, labels, ["good x", "bad y"], 0).tolist() == [0, 1]


def test_the_table_baseline_reads_numbers_words_and_gaps() -> None:
    rows = [f'{{"x": {i}, "kind": "{"u" if i % 2 else "v"}", "gap": null}}' for i in range(80)]
    labels = np.array([i % 2 for i in range(80)])
    assert classical("table", "classification", rows, labels, [rows[3], rows[4]], 0).tolist() == [1, 0]
    first, second = cells(rows[:4], ['{"x": 1, "kind": "never seen"}'])
    assert first.shape == (4, 2)
    assert np.isnan(second[0]).tolist() == [True, False]


def test_the_probe_answers_with_the_only_class_there_is() -> None:
    assert probe("classification", np.eye(3), np.array([2, 2, 2]), np.eye(3)[:1], 0).tolist() == [2]


def test_digits_zero_to_four_to_five_to_nine_is_negative_transfer() -> None:
    """Features that were learned to tell 0 to 4 apart lose the rest: a probe on them is worse than plain pixels."""
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    images, names = load_digits(return_X_y=True)
    images /= 16
    source = MLPClassifier((8,), max_iter=60, random_state=0, learning_rate_init=0.01, n_iter_no_change=60)
    with pytest.warns(match="Maximum iterations"):
        source.fit(images[names < 5], names[names < 5])
    target, labels = images[names > 4], names[names > 4] - 5
    hidden = np.maximum(target @ source.coefs_[0] + source.intercepts_[0], 0)
    rows = subsample(labels, 5, 0)
    rest = np.setdiff1d(np.arange(len(labels)), rows)
    plain = probe("classification", target[rows], labels[rows], target[rest], 0) == labels[rest]
    moved = probe("classification", hidden[rows], labels[rows], hidden[rest], 0) == labels[rest]
    assert paired_gain(moved, plain).word == "negative"


def test_a_subsample_holds_as_many_rows_of_every_class_as_there_are() -> None:
    labels = np.array([0] * 10 + [1] * 3)
    rows = subsample(labels, 5, 0)
    assert np.bincount(labels[rows]).tolist() == [5, 3]
    assert rows.tolist() == sorted(set(rows.tolist()))


# ------------------------------------------------------------------------------------------------ slices
def test_texts_are_sliced_by_length_and_every_row_is_in_one_slice() -> None:
    texts = ["x" * n for n in range(1, 41)]
    found = slice_metrics("text", texts, accuracy_of(np.array([len(t) <= 20 for t in texts])))
    assert found is not None
    assert sum(part["rows"] for part in found["slices"]) == 40
    assert [part["value"] for part in found["slices"]] == [1.0, 1.0, 0.0, 0.0]


def test_inputs_that_are_all_alike_have_no_slices() -> None:
    assert slice_metrics("text", ["ab", "cd"], accuracy_of(np.array([True, False]))) is None
    assert slice_metrics("table", ["{}"], accuracy_of(np.array([True]))) is None
