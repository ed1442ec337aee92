"""Clusters of embeddings: found where they are, doubted where they are not, and served as they were measured."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import adjusted_rand_score

from headstock.catalogue import Catalogue
from headstock.cli.cluster import command as cluster_command
from headstock.cli.report import command as report_command
from headstock.clustering import Clustered, Grouping, cluster
from headstock.clustering.middles import middles_form, nearest
from headstock.clustering.quality import (
    agreement,
    by_silhouette,
    kmeans,
    shuffled_silhouette,
    silhouette,
    stability,
)
from headstock.errors import InvalidInput
from headstock.finetune import read_table
from headstock.names import Reference
from headstock.plugin_host import open_host
from headstock.predictor import Predictor

OPENINGS = ("where is my order", "please refund the broken lamp", "how do i change my password")


def blobs(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """90 rows around three points [n, 5], and which point each is of."""
    dice = np.random.default_rng(seed)
    classes = np.repeat(np.arange(3), 30)
    return dice.normal(0, 0.3, (90, 5)) + np.eye(5)[classes] * 4, classes


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 texts of three kinds."""
    dice = random.Random(2)
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    lines = [f"{opening} {dice.choice('abc')},{opening[:5]}" for _ in range(20) for opening in OPENINGS]
    path.write_text("text,kind\n" + "\n".join(lines) + "\n")
    return path


def made(catalogue: Catalogue, path: Path, asked: Grouping, name: str = "topics") -> Clustered:
    host = open_host(catalogue.settings)
    return cluster(catalogue, host, read_table(path), Reference("tiny"), name, asked)


# ------------------------------------------------------------------------------------------------ figures
def test_the_number_of_clusters_is_the_one_with_the_highest_silhouette() -> None:
    features, classes = blobs()
    tried = by_silhouette(features, 8, 0)
    assert [k for k, _ in tried] == list(range(2, 9))
    assert max(tried, key=lambda one: one[1])[0] == 3
    assert adjusted_rand_score(kmeans(features, 3, 0), classes) == 1.0


def test_clusters_are_numbered_from_the_largest() -> None:
    features, classes = blobs()
    found = kmeans(features[10:], 3, 0)
    assert np.bincount(found).tolist() == [30, 30, 20]
    assert (found[classes[10:] == 0] == 2).all()


def test_shuffled_columns_tell_structure_from_none() -> None:
    """Real clusters stand above what k-means finds in the same columns shuffled apart; one round cloud does not."""
    features, _ = blobs()
    there = silhouette(features, kmeans(features, 3, 0), 0)
    assert there.low > shuffled_silhouette(features, 3, 0)
    cloud = np.random.default_rng(1).normal(size=(300, 5))
    nothing = silhouette(cloud, kmeans(cloud, 3, 0), 0)
    assert nothing.low < shuffled_silhouette(cloud, 3, 0)


@pytest.mark.parametrize("seed", range(5))
def test_the_agreement_is_the_adjusted_rand_index(seed: int) -> None:
    """As scikit-learn computes it, with an interval around it."""
    dice = np.random.default_rng(seed)
    classes = dice.integers(0, 4, 120)
    clusters = np.where(dice.random(120) < 0.7, classes, dice.integers(0, 5, 120))
    found = agreement(clusters, classes, seed)
    assert found.value == pytest.approx(adjusted_rand_score(classes, clusters))
    assert found.low <= found.value <= found.high
    # A row that is drawn twice counts for no pair with itself, which would lift the whole interval.
    assert (found.low + found.high) / 2 == pytest.approx(found.value, abs=0.05)


def test_starts_that_agree_are_stable_and_a_single_one_says_nothing() -> None:
    features, _ = blobs()
    assert stability([kmeans(features, 3, seed) for seed in range(3)]) == 1.0
    assert stability([kmeans(features, 3, 0)]) is None


def test_the_served_form_tells_the_nearest_middle() -> None:
    features = blobs()[0].astype(np.float32)
    clusters = kmeans(features.astype(np.float64), 3, 0)
    middles = np.stack([features[clusters == one].mean(axis=0) for one in range(3)])
    other = np.random.default_rng(7).normal(0, 4, (200, 5)).astype(np.float32)
    expected = np.linalg.norm(other[:, None] - middles, axis=-1).argmin(axis=1)
    assert (nearest(middles_form(features, clusters, 3), other) == expected).all()


# ------------------------------------------------------------------------------------------------ the model
def test_a_model_tells_the_cluster_and_shares_the_backbone(tiny_catalogue: Catalogue, rows: Path) -> None:
    """What is predicted for the rows is what the report says of them; nothing of the backbone is copied."""
    found = made(tiny_catalogue, rows, Grouping(k=3, label_column="kind"))
    version, section = found.version, found.report["clustering"]
    identity = tiny_catalogue.artefact(version.subject).identity
    assert identity["backbone"] == tiny_catalogue.version(Reference("tiny")).subject
    texts = [str(text) for text in read_table(rows).columns["text"]]
    answers = Predictor.open(tiny_catalogue, Reference("topics")).predict(texts).outputs["label"]
    assert [label.decode() for label in answers.ravel()] == [f"cluster-{one + 1}" for one in found.clusters]
    assert [one["rows"] for one in section["clusters"]] == np.bincount(found.clusters).tolist()
    assert section["agreement"]["value"] == pytest.approx(
        adjusted_rand_score(read_table(rows).columns["kind"], found.clusters)
    )
    assert {edge.relation for edge in tiny_catalogue.edges(child=identity["head"])} == {
        "head_on",
        "trained_on",
        "built_by_plugin",
    }
    assert not tiny_catalogue.verify().problems


def test_labels_decide_nothing(tiny_catalogue: Catalogue, rows: Path) -> None:
    """With and without them the head is the same."""
    first = made(tiny_catalogue, rows, Grouping(k=3), "one").version.details["head"]
    assert made(tiny_catalogue, rows, Grouping(k=3, label_column="kind"), "two").version.details["head"] == first


def test_numbers_and_rows_that_do_not_fit_are_refused(tiny_catalogue: Catalogue, rows: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="--k 60 does not fit 60 rows"):
        made(tiny_catalogue, rows, Grouping(k=60))
    with pytest.raises(InvalidInput, match="expected one vector per row"):
        made(tiny_catalogue, rows, Grouping(k=3, tap="tokens"))
    few = tmp_path / "few.txt"
    few.write_text("one\ntwo\nthree\n")
    with pytest.raises(InvalidInput, match="at least 10"):
        made(tiny_catalogue, few, Grouping(k=2))
    same = tmp_path / "same.txt"
    same.write_text("where is my order\n" * 20)
    with pytest.raises(InvalidInput, match="all rows fall into one cluster"):
        made(tiny_catalogue, same, Grouping(k=2))


def test_the_command_and_its_report(tiny_home: Path, rows: Path) -> None:
    env = {"HEADSTOCK_HOME": str(tiny_home)}
    options = ["--backbone", "tiny", "--data", str(rows), "--name", "topics", "--most", "6", "--label-column", "kind"]
    done = CliRunner().invoke(cluster_command, [*options, "--format", "json"], env=env)
    assert done.exit_code == 0, (done.output, done.exception)
    found = json.loads(done.stdout)
    assert len(found["rows"]) == 60
    assert found["clustering"]["k"] == max(found["clustering"]["tried"], key=lambda one: one["silhouette"])["k"]
    page = CliRunner().invoke(report_command, ["topics"], env=env)
    assert "## Clusters" in page.stdout
    assert "the same columns shuffled" in page.stdout
    wrong = CliRunner().invoke(cluster_command, [*options, "--k", "many"], env=env)
    assert "expected auto or 2 and more" in str(wrong.exception)
