"""The gate before an alias moves, for backbones that went on learning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from headstock.catalogue import Catalogue
from headstock.errors import FailedPrecondition
from headstock.records import Edge, Publication, Version, artefact_of
from headstock.report.gate import check_backbone, check_promotion
from headstock.report.probed import retrieval_statement
from headstock.settings import Settings
from headstock.testing.toy import publish_backbone, publish_model


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(tmp_path)})) as catalogue:
        yield catalogue


def found(value: float, verdict: str) -> Mapping[str, Any]:
    """What an alignment's report says of held-out pairs."""
    gain = {"value": value, "low": value - 0.05, "high": value + 0.05, "verdict": verdict}
    return {"pairs": 40, "gain": gain}


def aligned(catalogue: Catalogue, value: float, verdict: str) -> Version:
    """A tower that an alignment made, and what its held-out pairs said."""
    tower = publish_backbone(catalogue, "shop-image")
    artefact = catalogue.artefact(tower.subject)
    statement = retrieval_statement(tower.subject, found(value, verdict), "pairs.csv")
    again = Publication(
        name="shop-image", kind="backbone", subject=tower.subject, artefacts=(artefact,), evidence=(statement,)
    )
    return catalogue.publish(again)


def test_a_tower_that_an_alignment_made_worse_is_not_promoted_nor_what_stands_on_it(catalogue: Catalogue) -> None:
    tower = aligned(catalogue, -0.3, "negative")
    model = publish_model(catalogue, "pictures", tower)
    artefact = catalogue.artefact(tower.subject)
    half = artefact_of("backbone", {**artefact.identity, "weights": model.subject}, artefact.files)
    smaller = catalogue.publish(
        Publication(
            name="shop-half",
            kind="backbone",
            subject=half.digest,
            artefacts=(half,),
            edges=(Edge(half.digest, "quantised_from", tower.subject),),
        )
    )
    for version in (tower, model, smaller):
        with pytest.raises(
            FailedPrecondition, match=r"negative transfer: .* worse on pairs.csv: recall at 1 .* 40 held"
        ):
            check_promotion(catalogue, version)
        forced = check_promotion(catalogue, version, force=True, reason="for a demo")
        assert forced == "forced past negative transfer: for a demo"
    with pytest.raises(FailedPrecondition, match="no model on backbone 'shop-image' is promoted without force"):
        check_backbone(catalogue, tower.subject, "shop-image")


@pytest.mark.parametrize("value, verdict", [(0.3, "positive"), (0.0, "none")])
def test_a_tower_that_is_not_worse_passes(catalogue: Catalogue, value: float, verdict: str) -> None:
    tower = aligned(catalogue, value, verdict)
    assert check_promotion(catalogue, tower, reason="better") == "better"
    assert check_promotion(catalogue, publish_model(catalogue, "pictures", tower)) == ""
