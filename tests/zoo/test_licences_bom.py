"""The CycloneDX bill of materials: strictly valid, byte-stable, one declared and one concluded licence each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from headstock.catalogue import Catalogue
from headstock.licences.cyclonedx import bom
from headstock.licences.decisions import conclude
from headstock.licences.gate import read_facts
from headstock.records import Edge, Evidence, Publication, artefact_of
from headstock.settings import Settings
from headstock.testing.publications import backbone_publication, model_publication

Spec = Literal["1.6", "1.7"]


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    settings = Settings.from_environment({"HEADSTOCK_HOME": str(tmp_path / "home")})
    with Catalogue.open(settings) as opened:
        licences = [("Apache-2.0", "hub-tag"), ("MIT", "licence-file")]
        backbone = opened.publish(backbone_publication(opened.store, "wav2vec2", licences=licences))
        opened.publish(model_publication(opened.store, "intents", backbone.subject))
        other = opened.publish(
            backbone_publication(opened.store, "llama", seed=1, licences=[("LicenseRef-headstock-llama-3", "card")])
        )
        conclude(opened, other.subject, "LicenseRef-headstock-llama-3.1 AND OpenMDW-1.0", "for the test")
        yield opened


def components(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [document["metadata"]["component"], *document["components"]]


@pytest.mark.parametrize("spec", ["1.6", "1.7"])
@pytest.mark.parametrize("name", ["intents", "wav2vec2", "llama"])
def test_the_bom_passes_the_strict_validator(catalogue: Catalogue, name: str, spec: Spec) -> None:
    pytest.importorskip("cyclonedx", reason="pip install 'cyclonedx-python-lib[json-validation]'")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    document = bom(read_facts(catalogue), catalogue.newest(name), spec)

    version = SchemaVersion.V1_6 if spec == "1.6" else SchemaVersion.V1_7
    assert JsonStrictValidator(version).validate_str(json.dumps(document)) is None


def test_every_component_has_one_declared_and_one_concluded_licence(catalogue: Catalogue) -> None:
    document = bom(read_facts(catalogue), catalogue.newest("intents"))

    for component in components(document):
        said = [choice["license"]["acknowledgement"] for choice in component["licenses"]]
        assert said == ["declared", "concluded"]
    by_name = {c["name"]: [choice["license"] for choice in c["licenses"]] for c in components(document)}
    declared, concluded = by_name["backbone bert"]
    assert declared["name"] == "Apache-2.0 / MIT"
    assert concluded["name"] == "NOASSERTION"


def test_a_decision_is_the_concluded_licence(catalogue: Catalogue) -> None:
    declared, concluded = (
        choice["license"]
        for choice in bom(read_facts(catalogue), catalogue.newest("llama"))["metadata"]["component"]["licenses"]
    )

    assert declared["name"] == "LicenseRef-headstock-llama-3"
    assert concluded["name"] == "LicenseRef-headstock-llama-3.1 AND OpenMDW-1.0"


def test_the_bom_covers_the_lineage_with_data_metrics_and_what_nobody_stated(catalogue: Catalogue) -> None:
    document = bom(read_facts(catalogue), catalogue.newest("intents"))
    model = document["metadata"]["component"]

    kinds = {p["value"] for c in components(document) for p in c["properties"] if p["name"] == "headstock:kind"}
    assert kinds == {"model", "head", "backbone", "dataset", "source"}
    (dataset,) = model["modelCard"]["modelParameters"]["datasets"]
    assert dataset["ref"] in {c["bom-ref"] for c in components(document) if c["type"] == "data"}
    (metric,) = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert metric["confidenceInterval"] == {"lowerBound": "0.8", "upperBound": "0.95"}
    assert {"name": "headstock:g7:models.producer", "value": "NOASSERTION"} in model["properties"]
    refs = [d["ref"] for d in document["dependencies"]]
    assert sorted(refs) == sorted(c["bom-ref"] for c in components(document))


def test_a_bom_says_what_each_source_spoke_of(catalogue: Catalogue) -> None:
    """The code of a plugin is a component with a licence of its own."""
    backbone = catalogue.newest("wav2vec2").subject
    plugin = artefact_of("plugin", {"kind": "plugin", "distribution": "acme", "version": "1"})
    made = Edge(backbone, "built_by_plugin", plugin.digest)
    said = Evidence(plugin.digest, "licence", "MIT", "package-metadata", "distribution:acme@1/METADATA", "MIT", "code")
    catalogue.publish(Publication("wav2vec2", "backbone", backbone, [plugin], [made], [said]))

    document = bom(read_facts(catalogue), catalogue.newest("intents"))

    (code,) = (c for c in components(document) if c["type"] == "library")
    declared, concluded = (choice["license"] for choice in code["licenses"])
    assert (declared["id"], concluded["name"]) == ("MIT", "NOASSERTION")
    words = "package-metadata at distribution:acme@1/METADATA about code: MIT"
    assert {"name": "headstock:licence-evidence", "value": words} in code["properties"]


def test_the_bom_is_byte_stable(catalogue: Catalogue) -> None:
    first, second = (json.dumps(bom(read_facts(catalogue), catalogue.newest("intents"))) for _ in range(2))
    assert first == second
