"""NOTICE and licence texts of a source: one does not stand in for the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from headstock.catalogue import Catalogue
from headstock.licences.gate import read_facts
from headstock.licences.notice import notice
from headstock.licences.policy import Policy
from headstock.settings import Settings
from headstock.testing.publications import backbone_publication


def test_a_notice_text_is_repeated_and_the_missing_licence_text_still_listed(tmp_path: Path) -> None:
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(tmp_path)})) as catalogue:
        blob = catalogue.store.put_bytes(b"This product includes work of Ada.\n")
        made = backbone_publication(catalogue.store, "bert")
        artefacts = [
            replace(a, files={**a.files, "notice": blob}) if a.kind == "backbone" else a for a in made.artefacts
        ]
        subject = catalogue.publish(replace(made, artefacts=artefacts)).subject

        document = notice(read_facts(catalogue), "bert", subject, Policy.default(), catalogue.store.read_bytes)

    assert "NOTICE text of " in document
    assert "This product includes work of Ada." in document
    assert "Licences whose text did not come with the artefact" in document
    assert "  Apache-2.0: " in document.partition("Licences whose text did not come")[2]
