"""Anomaly heads: what is normal is remembered, what is far from it stands out, and the graph says what torch says."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from headstock import postprocess
from headstock.errors import InvalidInput
from headstock.graph import Graph
from headstock.heads import AnomalyHead
from headstock.heads.memory_bank import coreset
from headstock.hookspecs import Targets
from headstock_server.engine import GraphHead


class Inspect(AnomalyHead):
    name: ClassVar[str] = "toy-anomaly"
    modality: ClassVar[str] = "image"
    tap: ClassVar[str] = "feature_map"


def _maps(random: np.random.Generator, count: int) -> np.ndarray:
    """Normal maps [n, 4, 5, 6]: each place has its own mean."""
    means = np.random.default_rng(99).standard_normal((4, 5, 6))
    return (3 * means + 0.2 * random.standard_normal((count, 4, 5, 6))).astype(np.float32)


def _fitted(features: np.ndarray, targets: Targets, **options: Any) -> Any:
    torch.manual_seed(0)
    head: Any = Inspect().build(features.shape[-1], targets, {**Inspect().default_options(), **options})
    head.fit_input_statistics(torch.from_numpy(features))
    return head.eval()


def _outputs(head: Any, features: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        result: np.ndarray = head(torch.from_numpy(features)).numpy()
    return result


@pytest.fixture(scope="module")
def inspected() -> tuple[Any, np.ndarray, Targets]:
    """A head that remembers thirty normal maps, and twenty of which every second one has a defect at (1, 3)."""
    random = np.random.default_rng(0)
    head = _fitted(_maps(random, 30), Inspect().encode({"label": ["good"] * 30}), neighbourhood=1, share=0.3)
    tested = _maps(random, 20)
    tested[::2, 1, 3] += 2.0
    return head, tested, Inspect().encode({"label": ["scratch", ""] * 10})


def test_labels_say_what_is_normal() -> None:
    """Also none at all; everything else is an anomaly, whatever it is called."""
    targets = Inspect().encode({"label": ["good", "Normal", None, "", "scratch", float("nan"), "hole"]})
    assert targets.values.tolist() == [0, 0, 0, 0, 1, 0, 1]


def test_two_normal_rows_are_needed() -> None:
    with pytest.raises(InvalidInput, match="1 of 2 rows are normal"):
        Inspect().encode({"label": ["good", "hole"]})


def test_defects_stand_out_in_score_and_place(inspected: tuple[Any, np.ndarray, Targets]) -> None:
    head, tested, targets = inspected
    outputs = _outputs(head, tested)
    auroc, auprc, passed = Inspect().metrics(outputs, targets, 0)
    assert (auroc.name, auprc.name, passed.name) == ("auroc", "auprc", "normal_passed")
    assert auroc.value == auprc.value == 1.0
    assert passed.value >= 0.7
    answers = postprocess.apply(Inspect().postprocess(targets, {}), outputs)
    assert answers["anomalous"][::2].all()
    assert answers["score"].tolist() == outputs.reshape(20, -1).max(axis=1).tolist()
    assert (answers["anomaly_map"][::2].reshape(10, -1).argmax(axis=1) == 1 * 5 + 3).all()


def test_the_graph_says_what_torch_says_and_a_row_the_same_bits_in_company(
    inspected: tuple[Any, np.ndarray, Targets], tmp_path: Path
) -> None:
    head, tested, _ = inspected
    path = tmp_path / "head.onnx"
    path.write_bytes(Inspect().graph_form(head))
    assert path.read_bytes() == Inspect().graph_form(head)
    served = GraphHead("feature_map", path, width=tested.shape[-1], threads=1)
    together = served.run(tested, np.zeros(len(tested), np.intp))
    assert np.abs(together - _outputs(head, tested)).max() < 1e-5
    for i in range(len(tested)):
        assert served.run(tested[i : i + 1], np.zeros(1, np.intp)).tobytes() == together[i].tobytes()


def test_a_neighbourhood_averages_less_at_the_rim(tmp_path: Path) -> None:
    """In torch and in the graph; a defect of one place then shows around it too."""
    random = np.random.default_rng(1)
    head = _fitted(_maps(random, 6), Inspect().encode({"label": [""] * 6}), neighbourhood=3, share=1.0)
    features = _maps(random, 2)
    averaged = head.averaged(torch.from_numpy(features)).numpy()
    assert np.allclose(averaged[0, 0, 0], features[0, :2, :2].mean(axis=(0, 1)), atol=1e-5)
    assert np.allclose(averaged[1, 2, 2], features[1, 1:4, 1:4].mean(axis=(0, 1)), atol=1e-5)
    (tmp_path / "head.onnx").write_bytes(Inspect().graph_form(head))
    (found,) = Graph(tmp_path / "head.onnx").run({"features": features}, ["distances"])
    assert np.abs(found - _outputs(head, features)).max() < 1e-5


def test_what_is_remembered_is_found_again_exactly() -> None:
    """With everything remembered a training sample has distance 0, also where features are large."""
    features = _maps(np.random.default_rng(2), 5) + 1000
    head = _fitted(features, Inspect().encode({"label": ["ok"] * 5}), neighbourhood=1, share=1.0)
    assert not _outputs(head, features).any()


def test_anomalous_training_rows_are_not_remembered() -> None:
    features = _maps(np.random.default_rng(3), 6)
    features[2] += 50
    labels = ["good", "good", "broken", "good", "good", "good"]
    head = _fitted(features, Inspect().encode({"label": labels}), share=1.0)
    assert _outputs(head, features)[2].min() > 5


def test_the_coreset_leaves_no_cluster_out() -> None:
    """Ten far clusters of very different sizes, ten points: one of each, where drawing at random misses most."""
    torch.manual_seed(0)
    owners = torch.cat([torch.zeros(500, dtype=torch.int64), torch.arange(1, 10)])
    points = 100 * torch.nn.functional.one_hot(owners, 10).float() + torch.randn(509, 10)
    assert owners[coreset(points, 10)].unique().tolist() == list(range(10))


def test_the_same_seed_remembers_the_same() -> None:
    features, targets = _maps(np.random.default_rng(4), 8), Inspect().encode({"label": [""] * 8})
    assert torch.equal(_fitted(features, targets).points, _fitted(features, targets).points)


@pytest.mark.parametrize(
    "options",
    [{"neighbourhood": 2}, {"share": 0.0}, {"share": 2}, {"most": 0}, {"quantile": 1.5}, {"quantile": "high"}],
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(options))):
        Inspect().build(3, Targets(np.zeros(2)), {**Inspect().default_options(), **options})


def test_a_tap_without_a_map_is_refused() -> None:
    head = Inspect().build(3, Targets(np.zeros(2)), Inspect().default_options())
    with pytest.raises(InvalidInput, match=r"takes \[n, height, width, 3\]") as caught:
        head(torch.zeros(2, 3))
    assert "--tap feature_map" in (caught.value.fix or "")


def test_without_anomalies_the_ranking_says_that_it_knows_nothing() -> None:
    auroc, auprc, passed = Inspect().metrics(np.zeros((4, 2, 2)), Targets(np.zeros(4, np.int64)), 0)
    assert (auroc.value, auroc.low, auroc.high) == (0.5, 0.0, 1.0)
    assert (auprc.low, auprc.high) == (0.0, 1.0)
    assert passed.value == 1.0
