"""Heads on one vector per sample: label sets, numbers, class means; each folds into one linear map."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from headstock import postprocess
from headstock.errors import InvalidInput
from headstock.graph import Graph
from headstock.heads import ClassificationHead, MultiLabelHead, PrototypeHead, RegressionHead
from headstock.hookspecs import Batch, HeadType, Targets


class _Named:
    name: ClassVar[str] = "toy"
    modality: ClassVar[str] = "text"
    tap: ClassVar[str] = "mean"


class Classify(_Named, ClassificationHead): ...


class MultiLabel(_Named, MultiLabelHead): ...


class Regress(_Named, RegressionHead): ...


class Prototype(_Named, PrototypeHead): ...


def _fitted(head_type: HeadType, features: np.ndarray, targets: Targets, steps: int = 0, **options: Any) -> Any:
    torch.manual_seed(0)
    width = features.shape[1]
    chosen = {**head_type.default_options(), **options}
    head: Any = head_type.build(width, targets, chosen)
    tensor = torch.from_numpy(features)
    head.fit_input_statistics(tensor)
    parameters = list(head.parameters())
    if parameters:
        optimiser = torch.optim.Adam(parameters, lr=0.05)
        for _ in range(steps):
            optimiser.zero_grad()
            head_type.loss(head, Batch(tensor, torch.from_numpy(targets.values))).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return head.eval()


def _outputs(head: Any, features: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        result: np.ndarray = head(torch.from_numpy(features)).numpy()
    return result


def _linear(head_type: HeadType, head: Any, features: np.ndarray) -> np.ndarray:
    form = head_type.linear_form(head)
    assert form is not None
    assert form.weight.dtype == form.bias.dtype == np.float32
    result: np.ndarray = features @ form.weight + form.bias
    return result


# ------------------------------------------------------------------------------------------- label sets
@pytest.mark.parametrize(
    "column",
    [
        ["a|b", "", "b", " c | a "],
        ["a;b", None, "b", "c;a"],
        ["a, b", "", "b", "c,a"],
        [["a", "b"], [], ["b"], ["c", "a", "a"]],
        ['["a", "b"]', "[]", '["b"]', '["c","a"]'],
        [np.array(["a", "b"]), np.array([]), ("b",), ["c", "a"]],
    ],
)
def test_label_sets_are_read_however_they_are_written(column: list[Any]) -> None:
    """A separator, a list, a JSON list; an empty cell has no labels."""
    targets = MultiLabel().encode({"labels": column})
    assert targets.labels == ("a", "b", "c")
    assert targets.values.tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 0], [1, 0, 1]]


def test_the_first_separator_that_occurs_anywhere_splits_every_cell() -> None:
    """A comma inside a name survives where bars separate."""
    assert MultiLabel().encode({"labels": ["x, y|z", "z"]}).labels == ("x, y", "z")


@pytest.mark.parametrize(
    "column, labels, message",
    [
        ([], None, "there are no rows"),
        (["a|b", "b|a"], None, r"all 2 rows have the labels \['a', 'b'\]"),
        (["a|z"], ["a", "b"], r"label 'z' in row 1 is not one of \['a', 'b'\]"),
        (["[broken"], None, "the labels in row 1 are no JSON list"),
    ],
)
def test_label_sets_that_cannot_train_a_head_are_refused(
    column: list[Any], labels: list[str] | None, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        MultiLabel().encode({"labels": column}, labels)


def test_a_multi_label_head_learns_each_label_by_itself_and_answers_names() -> None:
    """Label `even` lives in one feature, `big` in another; a row may have both, or none."""
    random = np.random.default_rng(0)
    features = random.standard_normal((120, 4)).astype(np.float32)
    truth = features[:, :2] > 0.3
    column = [[name for name, on in zip(("big", "even"), row, strict=True) if on] for row in truth]
    targets = MultiLabel().encode({"labels": column})
    head = _fitted(MultiLabel(), features, targets, steps=80)
    outputs = _outputs(head, features)
    metrics = {m.name: m for m in MultiLabel().metrics(outputs, targets, 0)}
    assert list(metrics) == ["micro_f1", "macro_f1", "map"]
    assert metrics["micro_f1"].value > 0.9
    assert all(m.low <= m.value <= m.high for m in metrics.values())
    assert np.abs(_linear(MultiLabel(), head, features) - outputs).max() < 1e-5
    spec = MultiLabel().postprocess(targets, {"threshold": 0.5})
    answers = postprocess.apply(spec, np.array([[3.0, -2.0], [1.0, 2.0], [-1.0, -1.0]], np.float32))
    assert answers["labels"].tolist() == [b'["big"]', b'["even", "big"]', b"[]"]
    assert answers["probabilities"][0] == pytest.approx([0.9526, 0.1192], abs=1e-4)


@pytest.mark.parametrize("threshold", [0.0, 1.0, "high", True])
def test_a_threshold_that_is_no_probability_is_refused(threshold: Any) -> None:
    with pytest.raises(InvalidInput, match="expected a number between 0 and 1"):
        MultiLabel().build(2, Targets(np.zeros((2, 2)), ("a", "b")), {"threshold": threshold})


# ------------------------------------------------------------------------------------------- numbers
def test_a_regression_answers_in_the_targets_own_unit() -> None:
    """Targets around a million with a spread of thousands, features of unequal scales: R2 near 1 all the same."""
    random = np.random.default_rng(1)
    features = (random.standard_normal((200, 3)) * [1e-2, 1.0, 1e3] + [0, 5, -1e3]).astype(np.float32)
    truth = 1e6 + 4e3 * features[:, 1] + 2e5 * features[:, 0]
    targets = Regress().encode({"target": [f"{value:.3f}" for value in truth]})
    head = _fitted(Regress(), features, targets, steps=300)
    outputs = _outputs(head, features)
    r2, mae, rmse = Regress().metrics(outputs, targets, 0)
    assert (r2.name, mae.name, rmse.name) == ("r2", "mae", "rmse")
    assert r2.value > 0.99
    assert mae.value < 500
    assert mae.value <= rmse.value
    # One part in a million is what FP32 has left at 1e6.
    assert np.abs(_linear(Regress(), head, features) / outputs - 1).max() < 2e-6
    spec = Regress().postprocess(targets, {"unit": "EUR"})
    assert spec == {"kind": "regression", "unit": "EUR"}
    assert postprocess.apply(spec, outputs[:2])["value"].tolist() == outputs[:2, 0].tolist()


def test_an_untrained_regression_answers_the_training_mean() -> None:
    """So it can only get better than that."""
    targets = Regress().encode({"target": [1, 2, 6]})
    head = _fitted(Regress(), np.ones((3, 2), np.float32), targets)
    assert _outputs(head, np.zeros((1, 2), np.float32))[0, 0] == pytest.approx(3.0)


@pytest.mark.parametrize(
    "column, message",
    [
        (["1", "two", "", None, "inf"], "the target in rows 2, 3, 4, 5 is no finite number, e.g. 'two'"),
        ([3, 3.0, "3"], "all 3 rows have the target 3"),
        ([], "there are no rows"),
        ([1, 1e300], "too large for FP32"),
    ],
)
def test_targets_that_are_no_numbers_are_refused_naming_the_rows(column: list[Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Regress().encode({"target": column})


# ------------------------------------------------------------------------------------------- class means
def test_a_prototype_head_answers_the_nearest_class_mean() -> None:
    """Against distances computed one by one; the linear form is the same function."""
    random = np.random.default_rng(2)
    features = random.standard_normal((30, 5)).astype(np.float32) + 3 * np.eye(5, dtype=np.float32)[np.arange(30) % 3]
    targets = Prototype().encode({"label": [("x", "y", "z")[i % 3] for i in range(30)]})
    head = _fitted(Prototype(), features, targets)
    means = np.stack([features[targets.values == c].mean(axis=0) for c in range(3)])
    rows = random.standard_normal((50, 5)).astype(np.float32) * 3
    distances = ((rows[:, None] - means) ** 2).sum(axis=2)
    outputs = _outputs(head, rows)
    assert outputs.argmax(axis=1).tolist() == distances.argmin(axis=1).tolist()
    assert np.abs(_linear(Prototype(), head, rows) - outputs).max() < 1e-4
    temperature = float(head.temperature)
    expected = -distances / temperature
    assert postprocess.softmax(outputs) == pytest.approx(postprocess.softmax(expected.astype(np.float32)), abs=1e-4)


def _clusters(rows: int = 60) -> tuple[np.ndarray, Targets]:
    """Three loose clusters far from zero, in five dimensions."""
    random = np.random.default_rng(8)
    truth = np.arange(rows) % 3
    features = 100 + 2 * np.eye(5, dtype=np.float32)[truth] + random.standard_normal((rows, 5)).astype(np.float32)
    return features, Targets(truth, ("x", "y", "z"))


@pytest.mark.parametrize("k", [1, 5, 59, 1000])
def test_the_nearest_rows_vote_by_how_near_they_are(k: int) -> None:
    """Against votes counted one by one; more neighbours than rows are all rows but the farthest."""
    features, targets = _clusters()
    head = _fitted(Prototype(), features, targets, neighbours=k)
    rows = 101 + 2 * np.random.default_rng(9).standard_normal((40, 5)).astype(np.float32)
    expected = []
    for row in rows.astype(np.float64):
        distances = ((row - features) ** 2).sum(axis=1)
        nearest = distances.argsort(kind="stable")[: min(k, 59) + 1]
        last, first = distances[nearest[-1]], distances[nearest[0]]
        votes = np.full(3, 0.1 / 3)
        for i in nearest[:-1]:
            votes[targets.values[i]] += (last - distances[i]) / (last - first)
        expected.append(np.log(votes / votes.sum()))
    outputs = _outputs(head, rows)
    assert np.abs(outputs - np.stack(expected)).max() < 1e-3
    assert np.exp(outputs).sum(axis=1) == pytest.approx(1, abs=1e-5)
    if k == 1:
        own = ((rows[:, None] - features) ** 2).sum(axis=2).argmin(axis=1)
        assert outputs.argmax(axis=1).tolist() == targets.values[own].tolist()


@pytest.mark.parametrize("k", [1, 5, 1000])
def test_the_graph_of_the_nearest_rows_is_the_same_function(k: int, tmp_path: Path) -> None:
    """Rows that stand twice among the training rows included; it has no linear form."""
    features, targets = _clusters()
    features[30:45] = features[:15]
    head = _fitted(Prototype(), features, targets, neighbours=k)
    assert Prototype().linear_form(head) is None
    data = Prototype().graph_form(head)
    assert data is not None
    (tmp_path / "head.onnx").write_bytes(data)
    graph = Graph(tmp_path / "head.onnx")
    rows = np.concatenate([features, 101 + 2 * np.random.default_rng(9).standard_normal((40, 5)).astype(np.float32)])
    (served,) = graph.run({graph.inputs[0]: rows}, graph.outputs)
    assert np.abs(served - _outputs(head, rows)).max() < 1e-5


def test_an_answer_of_the_nearest_rows_does_not_jump() -> None:
    """Where two rows change places at the end of the vote, neither has a vote that counts."""
    features = np.array([[0.0], [1.0], [3.0], [-1.0]], np.float32)
    targets = Targets(np.array([0, 0, 1, 2]), ("x", "y", "z"))
    head = _fitted(Prototype(), features, targets, neighbours=2)
    # Row -1 leaves the vote and row 3 enters it at 1.
    before, after = _outputs(head, np.array([[1 - 1e-4], [1 + 1e-4]], np.float32))
    assert np.abs(before - after).max() < 1e-2


@pytest.mark.parametrize(
    "options, message",
    [
        ({"neighbours": -1}, "option neighbours is -1"),
        ({"neighbours": 2.5}, "option neighbours is 2.5"),
        ({"neighbours": 3, "temperature": 1.0}, "neighbours vote by their distances alone"),
    ],
)
def test_options_of_the_vote_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    features, targets = _clusters()
    with pytest.raises(InvalidInput, match=message):
        _fitted(Prototype(), features, targets, **options)


def test_the_temperature_makes_probabilities_of_round_clusters_honest() -> None:
    """Two unit clusters 2 apart: the posterior of equal Gaussians, known in closed form, within 0.03 on average."""
    random = np.random.default_rng(3)
    centres = np.array([[0.0, 0.0], [2.0, 0.0]])
    truth = np.arange(4000) % 2
    features = (random.standard_normal((4000, 2)) + centres[truth]).astype(np.float32)
    targets = Targets(truth, ("a", "b"))
    found = postprocess.softmax(_outputs(_fitted(Prototype(), features, targets), features))[:, 1]
    posterior = 1 / (1 + np.exp(-(2 * features[:, 0] - 2)))
    assert np.abs(found - posterior).mean() < 0.03


def test_a_large_part_that_all_features_share_drowns_nothing() -> None:
    """Networks often answer near one point far from zero; FP32 products of such features lose what tells them apart."""
    random = np.random.default_rng(4)
    truth = np.arange(60) % 2
    features = (100 + 0.3 * truth[:, None] + 0.1 * random.standard_normal((60, 8))).astype(np.float32)
    head = _fitted(Prototype(), features, Targets(truth, ("a", "b")))
    means = np.stack([features[truth == c].astype(np.float64).mean(axis=0) for c in range(2)])
    distances = ((features[:, None].astype(np.float64) - means) ** 2).sum(axis=2)
    expected = (distances[:, 0] - distances[:, 1]) / float(head.temperature)
    for outputs in (_outputs(head, features), _linear(Prototype(), head, features)):
        assert np.abs(outputs[:, 1] - outputs[:, 0] - expected).max() < 2e-2


def test_one_example_per_class_is_enough() -> None:
    """There is no spread within a class then, and no division by zero."""
    features = np.array([[0.0, 0.0], [1.0, 0.0]], np.float32)
    head = _fitted(Prototype(), features, Targets(np.array([0, 1]), ("a", "b")))
    outputs = _outputs(head, np.array([[0.1, 5.0], [0.9, -5.0]], np.float32))
    assert np.isfinite(outputs).all()
    assert outputs.argmax(axis=1).tolist() == [0, 1]


def test_an_asked_temperature_is_used_and_a_negative_one_refused() -> None:
    targets = Targets(np.array([0, 1]), ("a", "b"))
    head = _fitted(Prototype(), np.eye(2, dtype=np.float32), targets, temperature=7.0)
    assert float(head.temperature) == 7.0
    with pytest.raises(InvalidInput, match="temperature is -1"):
        Prototype().build(2, targets, {"temperature": -1})


# ------------------------------------------------------------------------------------------- two classes
def test_two_classes_are_also_judged_by_how_they_rank() -> None:
    """AUROC and AUPRC of the second class, equal to scikit-learn's, ties included."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    random = np.random.default_rng(4)
    truth = random.integers(0, 2, 150)
    logits = np.round(random.standard_normal((150, 2)) + np.eye(2)[truth], 1).astype(np.float32)
    found = {m.name: m for m in Classify().metrics(logits, Targets(truth, ("no", "yes")), 0)}
    scores = logits[:, 1] - logits[:, 0]
    assert found["auroc"].value == pytest.approx(roc_auc_score(truth, scores), abs=1e-9)
    assert found["auprc"].value == pytest.approx(average_precision_score(truth, scores), abs=1e-9)
    assert all(m.low < m.value < m.high for m in found.values())
