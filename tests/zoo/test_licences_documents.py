"""Documents of a version: SPDX, the minimum elements, the model card, and statements of change in the NOTICE."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from headstock.catalogue import Catalogue
from headstock.cli.main import cli
from headstock.licences.cyclonedx import bom
from headstock.licences.decisions import conclude
from headstock.licences.documents.hub import licence_fields, licence_ids, problems
from headstock.licences.documents.minimum import ELEMENTS
from headstock.licences.gate import read_facts
from headstock.settings import Settings
from headstock.testing.publications import backbone_publication, model_publication

ROOT = ("metadata", "system", "kpi", "infrastructure", "security")
NAMES = ["intents", "plain", "clash", "llama"]


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Catalogue]:
    monkeypatch.setenv("HEADSTOCK_HOME", str(tmp_path / "home"))
    with Catalogue.open(Settings.from_environment()) as opened:
        plain = opened.publish(backbone_publication(opened.store, "plain"))
        opened.publish(model_publication(opened.store, "intents", plain.subject))
        clash = [("Apache-2.0", "hub-tag"), ("MIT", "licence-file")]
        opened.publish(backbone_publication(opened.store, "clash", seed=1, licences=clash))
        llama = opened.publish(backbone_publication(opened.store, "llama", seed=2, licences=[("llama", "card")]))
        conclude(opened, llama.subject, "LicenseRef-headstock-llama-3.1", "for the test")
        yield opened


def printed(*arguments: str) -> str:
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def front_matter(text: str) -> Any:
    """The metadata as the hub's own library reads it."""
    from huggingface_hub import ModelCard

    return ModelCard(text).data


def spdx(name: str) -> dict[str, Any]:
    pytest.importorskip("spdx_python_model", reason="pip install spdx-python-model")
    document: dict[str, Any] = json.loads(printed("licence", "bom", name, "--spec", "spdx-3.0.1"))
    return document


def of(document: dict[str, Any], *types: str) -> list[dict[str, Any]]:
    return [item for item in document["@graph"] if item["type"] in types]


# ---------------------------------------------------------------------------------------------- SPDX
@pytest.mark.parametrize("name", NAMES)
def test_the_spdx_document_is_read_back_with_nothing_missing(catalogue: Catalogue, name: str) -> None:
    """Classes, cardinalities and values are checked by the bindings on the way in; no reference leads nowhere."""
    document = spdx(name)
    import spdx_python_model

    _, objects = spdx_python_model.load_data(document)
    assert not objects.link()
    for item in objects.objects:
        assert not list(_too_few(item))


def _too_few(item: Any) -> Iterator[str]:
    """Properties with fewer values than their class demands: reading checks values, not how many there are."""
    for prop in type(item)._OBJ_PY_PROPS.values():
        value = getattr(item, prop.pyname)
        missing = value is None or not prop.prop.check_min_count(value, prop.min_count or 0)
        if prop.min_count and (prop.prop.elide(value) or missing):
            yield prop.pyname


@pytest.mark.parametrize("name", NAMES)
def test_the_spdx_document_is_written_again_as_it_was(catalogue: Catalogue, name: str) -> None:
    """Writing refuses too few and too many values; nothing is lost between the two."""
    document = spdx(name)
    import spdx_python_model
    from spdx_python_model import v3_0_1

    _, objects = spdx_python_model.load_data(document)
    again = v3_0_1.JSONLDSerializer().serialize_data(objects)
    written = (sorted(json.dumps(item, sort_keys=True) for item in made["@graph"]) for made in (again, document))
    assert next(written) == next(written)


@pytest.mark.parametrize(
    "type_, key", [("simplelicensing_LicenseExpression", "simplelicensing_licenseExpression"), ("Relationship", "to")]
)
def test_the_check_finds_what_is_missing(catalogue: Catalogue, type_: str, key: str) -> None:
    document = spdx("llama")
    import spdx_python_model

    del next(item for item in document["@graph"] if item["type"] == type_)[key]
    _, objects = spdx_python_model.load_data(document)
    assert [missing for item in objects.objects for missing in _too_few(item)] == [key]


def test_a_licence_without_an_spdx_id_leads_to_an_element_that_says_what_it_is(catalogue: Catalogue) -> None:
    """Every LicenseRef- in an expression has its URI, and the element there holds a pointer, not a text of ours."""
    conclude(catalogue, catalogue.newest("plain").subject, "LicenseRef-headstock-llama-3.1 AND MIT", "for the test")
    elements = {}
    for document in (spdx("llama"), spdx("plain"), spdx("intents")):
        elements = {item.get("spdxId", ""): item for item in document["@graph"]}
        for said in of(document, "simplelicensing_LicenseExpression"):
            words = said["simplelicensing_licenseExpression"].replace("(", " ").replace(")", " ").split()
            custom = {word for word in words if word.startswith("LicenseRef-")}
            entries = {e["key"]: e["value"] for e in said.get("simplelicensing_customIdToUri", ())}
            assert set(entries) == custom
            for uri in entries.values():
                assert elements[uri]["type"] == "simplelicensing_SimpleLicensingText"
                assert elements[uri]["simplelicensing_licenseText"].startswith("NOASSERTION: ")
    (pointer,) = of(spdx("llama"), "simplelicensing_SimpleLicensingText")
    assert pointer["externalRef"][0]["locator"][0] == "https://www.llama.com/llama3_1/license/"
    assert not of(spdx("clash"), "simplelicensing_SimpleLicensingText")


@pytest.mark.parametrize("name", NAMES)
def test_every_spdx_package_has_one_declared_and_one_concluded_licence(catalogue: Catalogue, name: str) -> None:
    document = spdx(name)
    for package in of(document, "ai_AIPackage", "dataset_DatasetPackage"):
        said = [r["relationshipType"] for r in of(document, "Relationship") if r["from"] == package["spdxId"]]
        assert said.count("hasDeclaredLicense") == said.count("hasConcludedLicense") == 1


def test_contradicting_sources_assert_no_spdx_licence(catalogue: Catalogue) -> None:
    document = spdx("clash")
    backbone = next(p for p in of(document, "ai_AIPackage") if p["name"] == "clash")
    (declared,) = (
        r
        for r in of(document, "Relationship")
        if r["from"] == backbone["spdxId"] and r["relationshipType"] == "hasDeclaredLicense"
    )
    assert declared["to"] == ["expandedlicensing_NoAssertionLicense"]
    assert declared["comment"] == "Apache-2.0 / MIT"


def test_the_spdx_document_holds_what_each_source_spoke_of(catalogue: Catalogue) -> None:
    document = spdx("clash")
    (backbone,) = (p["spdxId"] for p in of(document, "ai_AIPackage") if p["name"] == "clash")
    (note,) = (
        json.loads(a["statement"])
        for a in of(document, "Annotation")
        if a["subject"] == backbone and "#evidence-" in a["spdxId"]
    )
    assert [(s["value"], s["about"]) for s in note] == [("Apache-2.0", "NOASSERTION"), ("MIT", "NOASSERTION")]


def test_the_spdx_document_names_data_lineage_and_figures(catalogue: Catalogue) -> None:
    document = spdx("intents")
    words = {r["relationshipType"] for r in of(document, "Relationship")}
    assert {"contains", "trainedOn", "dependsOn", "descendantOf"} <= words
    assert [d["name"] for d in of(document, "dataset_DatasetPackage")] == ["dataset tickets.csv"]
    root = next(p for p in of(document, "ai_AIPackage") if p["name"] == "intents")
    assert root["ai_metric"] == [{"type": "DictionaryEntry", "key": "accuracy", "value": "0.9 [0.8, 0.95]"}]


def test_the_spdx_document_is_byte_stable(catalogue: Catalogue) -> None:
    assert spdx("intents") == spdx("intents")
    assert printed("licence", "bom", "intents", "--spec", "spdx-3.0.1") == printed(
        "licence", "bom", "intents", "--spec", "spdx-3.0.1"
    )


# ---------------------------------------------------------------------------------------------- minimum elements
G7 = """
metadata: author, version, data-format, author-signature, tool-name, tool-version, generation-context, timestamp,
  dependency-relationship
system: name, components, producer, version, timestamp, data-flow, data-usage, input-output-properties,
  application-area
models: name, identifier, version, timestamp, producer, description, hash-value, hash-algorithm, properties,
  input-output-properties, training-properties, licence, external-references
datasets: name, description, content, identifier, hash, provenance, statistical-properties, sensitivity, dependencies,
  licence
kpi: security-metrics, operational-performance
infrastructure: software, hardware
security: controls, compliance, policy-information, vulnerability-referencing
"""
"""The seven clusters with their elements, written down apart from the code that has to know them."""


def g7() -> dict[str, set[str]]:
    joined = " ".join(G7.split())
    parts = re.split(r"(\w+): ", joined)[1:]
    return {name: set(re.findall(r"[\w-]+", text)) for name, text in zip(parts[::2], parts[1::2], strict=True)}


def expected(*clusters: str) -> set[str]:
    return {f"{cluster}.{element}" for cluster in clusters for element in g7()[cluster]}


def test_the_elements_are_those_of_the_paper() -> None:
    assert {cluster: set(names) for cluster, names in ELEMENTS.items()} == g7()
    assert all(len(names) == len(set(names)) for names in ELEMENTS.values())


def test_every_minimum_element_is_in_cyclonedx(catalogue: Catalogue) -> None:
    document = bom(read_facts(catalogue), catalogue.newest("intents"))
    for component in (document["metadata"]["component"], *document["components"]):
        prefix = "headstock:g7:"
        stated = [p for p in component["properties"] if p["name"].startswith(prefix)]
        said = {p["name"].removeprefix(prefix): p["value"] for p in stated}
        kind = next(p["value"] for p in component["properties"] if p["name"] == "headstock:kind")
        wanted = {"model": expected("models", *ROOT), "dataset": expected("datasets"), "source": set()}
        assert set(said) == wanted.get(kind, expected("models"))
        assert all(said.values())


def test_every_minimum_element_is_in_spdx(catalogue: Catalogue) -> None:
    document = spdx("intents")
    notes = [note for note in of(document, "Annotation") if "#minimum-" in note["spdxId"]]
    said = {note["subject"]: json.loads(note["statement"]) for note in notes}
    names = {p["spdxId"]: p["name"] for p in of(document, "ai_AIPackage", "dataset_DatasetPackage")}
    by_name = {names[subject]: statement for subject, statement in said.items()}
    assert set(by_name["intents"]) == expected("models", *ROOT)
    assert set(by_name["backbone bert"]) == expected("models")
    assert set(by_name["dataset tickets.csv"]) == expected("datasets")
    assert by_name["dataset tickets.csv"]["datasets.sensitivity"] == "NOASSERTION"
    assert by_name["backbone bert"]["models.licence"] == "declared Apache-2.0, concluded NOASSERTION"


# ---------------------------------------------------------------------------------------------- model card
@pytest.mark.parametrize("name", NAMES)
def test_the_card_has_metadata_that_the_hub_accepts(catalogue: Catalogue, name: str) -> None:
    assert problems(front_matter(printed("card", name)).to_dict()) == []


def test_the_card_says_base_licence_and_figures(catalogue: Catalogue) -> None:
    text = printed("card", "intents")
    data = front_matter(text)
    assert (data.license, data.library_name) == ("unknown", "headstock")
    assert (data.base_model, data.base_model_relation) == ("org/bert", "finetune")
    assert data.eval_results is not None
    assert (data.eval_results[0].metric_type, data.eval_results[0].metric_value) == ("accuracy", 0.9)
    assert "| accuracy | 0.9 | 0.8 to 0.95 | wilson |" in text
    assert "| backbone bert | Apache-2.0 | NOASSERTION |" in text
    assert "headstock fine-tune --recipe intents:1 --data FILE --name intents-again" in text


def test_the_card_of_a_custom_licence_names_and_links_it(catalogue: Catalogue) -> None:
    data = front_matter(printed("card", "llama"))
    assert data.license == "llama3.1"
    assert front_matter(printed("card", "clash")).license == "unknown"
    assert licence_fields("MIT AND Apache-2.0")["license"] == "other"


def test_the_card_is_byte_stable(catalogue: Catalogue) -> None:
    assert printed("card", "intents") == printed("card", "intents")


@pytest.mark.parametrize(
    "metadata, said",
    [
        ({}, "license is None"),
        ({"license": "Apache-2.0"}, "license is 'Apache-2.0'"),
        ({"license": "other"}, "license_name is None"),
        ({"license": "other", "license_name": "my terms", "license_link": "LICENSE"}, "license_name is 'my terms'"),
        ({"license": "other", "license_name": "x", "license_link": "/etc/x"}, "license_link is '/etc/x'"),
        ({"license": "mit", "license_name": "x"}, "go with 'other' only"),
        ({"license": "mit", "datasets": ["a file.csv"]}, "datasets holds 'a file.csv'"),
        ({"license": "mit", "base_model": "a/b", "base_model_relation": "child"}, "base_model_relation is 'child'"),
        ({"license": "mit", "base_model_relation": "merge"}, "without a base_model"),
        ({"license": "mit", "model-index": [{"results": [{"task": {"type": "x"}}]}]}, "lacks ['dataset', 'metrics']"),
    ],
)
def test_the_validator_refuses_what_the_hub_would(metadata: dict[str, Any], said: str) -> None:
    assert any(said in problem for problem in problems(metadata))


def test_every_licence_of_the_hub_is_an_accepted_identifier() -> None:
    assert len(licence_ids()) == 83


# ---------------------------------------------------------------------------------------------- NOTICE
def test_the_notice_says_what_was_changed_where_a_licence_asks(catalogue: Catalogue) -> None:
    text = printed("notice", "intents")
    assert "Changed files, as their licences ask to say:" in text
    assert "holds changed files of source hf:org/bert" in text
    assert "converted to another format (Apache-2.0)" in text
    assert text == printed("notice", "intents")


def test_the_notice_states_no_change_where_no_licence_asks(catalogue: Catalogue) -> None:
    catalogue.publish(backbone_publication(catalogue.store, "free", seed=7, family="free", licences=[("MIT", "card")]))
    assert "Changed files" not in printed("notice", "free")
