"""Drift of a source's words since the pull: card, LICENSE and NOTICE beside the tag; nothing counts until accepted."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from headstock.catalogue import Catalogue
from headstock.cli.main import main
from headstock.licences import verdict
from headstock.licences.decisions import history
from headstock.records import Version
from headstock.settings import Settings
from headstock.sources import fetch
from headstock.testing.hub import LocalHub, Repository
from headstock.testing.publications import backbone_publication

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Catalogue]:
    monkeypatch.setenv("HEADSTOCK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub-cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    with Catalogue.open(Settings.from_environment()) as opened:
        yield opened


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    with LocalHub() as local:
        monkeypatch.setenv("HF_ENDPOINT", local.url)
        yield local


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["headstock", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "tiny"
    made.mkdir()
    (made / "config.json").write_text("{}")
    (made / "model.safetensors").write_bytes(b"weights")
    (made / "README.md").write_text("---\nlicense: mit\n---\n")
    (made / "LICENSE").write_text("THE TINY LICENCE, first edition")
    (made / "NOTICE").write_text("made by Ada")
    return made


def pulled(catalogue: Catalogue, source: str, workdir: Path) -> Version:
    """A backbone published with the evidence and the texts that a pull of `source` keeps."""
    workdir.mkdir()
    fetched = fetch(source, workdir)
    publication = backbone_publication(catalogue.store, "tiny", licences=())
    texts = {role: catalogue.store.put_file(path) for role, path in fetched.documents.items()}
    artefacts = [replace(a, files={**a.files, **texts}) if a.kind == "backbone" else a for a in publication.artefacts]
    said = [statement.about(publication.subject) for statement in fetched.statements]
    return catalogue.publish(replace(publication, artefacts=artefacts, evidence=said))


def drift(run: Run, *arguments: str) -> dict[str, Any]:
    code, out, err = run("licence", "drift", *arguments, "--format", "json")
    assert code == 0, err
    (found,) = json.loads(out)
    return dict(found)


def hosted(folder: Path) -> Repository:
    repository = Repository(folder, card_data={"license": "mit"})
    newer(repository)
    return repository


def newer(repository: Repository) -> None:
    """A new commit; unlike those of other tests, whose files the hub client's cache still holds."""
    repository.commit = uuid4().hex + "0" * 8


def test_a_source_that_says_the_same_has_not_drifted(
    catalogue: Catalogue, hub: LocalHub, run: Run, folder: Path, tmp_path: Path
) -> None:
    hub.repositories["acme/tiny"] = hosted(folder)
    pulled(catalogue, "hf:acme/tiny", tmp_path / "work")
    newer(hub.repositories["acme/tiny"])
    hub.requests.clear()

    found = drift(run, "tiny")

    assert (found["direction"], found["changes"], found["accept"]) == ("same", [], "")
    assert not any("safetensors" in request for request in hub.requests)


@pytest.mark.parametrize(
    "name, text, direction, change",
    [
        ("LICENSE", "THE TINY LICENCE, second edition", "changed", "LICENSE text: changed"),
        ("NOTICE", "made by Ada and Grace", "changed", "NOTICE text: changed"),
        ("NOTICE", None, "gone", "NOTICE text: gone"),
        ("README.md", "---\nlicense: bsd-3-clause\n---\n", "changed", "card: MIT, now BSD-3-Clause"),
    ],
)
def test_a_changed_text_or_card_is_reported_beside_an_equal_tag(
    catalogue: Catalogue,
    hub: LocalHub,
    run: Run,
    folder: Path,
    tmp_path: Path,
    name: str,
    text: str | None,
    direction: str,
    change: str,
) -> None:
    hub.repositories["acme/tiny"] = hosted(folder)
    version = pulled(catalogue, "hf:acme/tiny", tmp_path / "work")
    before = (verdict(catalogue, version.subject), catalogue.generation())
    if text is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(text)
    newer(hub.repositories["acme/tiny"])

    found = drift(run, "tiny")

    assert (found["direction"], found["changes"]) == (direction, [change])
    assert (verdict(catalogue, version.subject), catalogue.generation()) == before


def test_a_repository_that_is_no_longer_there_is_gone(
    catalogue: Catalogue, hub: LocalHub, run: Run, folder: Path, tmp_path: Path
) -> None:
    hub.repositories["acme/tiny"] = hosted(folder)
    pulled(catalogue, "hf:acme/tiny", tmp_path / "work")
    del hub.repositories["acme/tiny"]

    assert drift(run, "tiny")["direction"] == "gone"
    code, _, err = run("licence", "drift", "tiny", "--accept", "--reason", "read it")
    assert code != 0
    assert "exactly one licence" in err


def test_a_folder_is_compared_where_it_lies_now(catalogue: Catalogue, run: Run, folder: Path, tmp_path: Path) -> None:
    (folder / "LICENSE").unlink()
    pulled(catalogue, f"path:{folder}", tmp_path / "work")
    moved = folder.rename(tmp_path / "elsewhere")

    assert drift(run, "tiny")["direction"] == "unreachable"
    assert drift(run, "tiny", "--folder", str(moved))["direction"] == "same"
    (moved / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    found = drift(run, "tiny", "--folder", str(moved))
    assert (found["direction"], found["changes"]) == ("worse", ["card: MIT, now CC-BY-NC-4.0"])
    assert drift(run, "tiny", "--folder", str(folder))["direction"] == "gone"


def test_accepting_is_a_decision_in_the_audit_log(catalogue: Catalogue, run: Run, folder: Path, tmp_path: Path) -> None:
    (folder / "LICENSE").unlink()
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    version = pulled(catalogue, f"path:{folder}", tmp_path / "work")
    commercial = ("licence", "why", "tiny", "--purpose", "commercial", "--format", "quiet")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    asked = ("tiny", "--folder", str(folder))
    assert drift(run, *asked)["direction"] == "better"
    assert run(*commercial)[1] == "deny\n"

    code, out, err = run("licence", "drift", *asked, "--accept", "--reason", "the owner said so")

    assert code == 0, err
    assert "concluded Apache-2.0" in out
    assert run(*commercial)[1] == "allow\n"
    (decision,) = history(catalogue, version.subject)
    assert (decision.expression, decision.reason.startswith("the owner said so (drift of path:tiny")) == (
        "Apache-2.0",
        True,
    )
    assert catalogue.audit_faults() == []
    assert drift(run, *asked)["accept"] == ""


def test_nothing_is_accepted_without_drift_or_without_a_reason(
    catalogue: Catalogue, run: Run, folder: Path, tmp_path: Path
) -> None:
    version = pulled(catalogue, f"path:{folder}", tmp_path / "work")
    asked = ("licence", "drift", "tiny", "--folder", str(folder), "--accept")

    code, _, err = run(*asked, "--reason", "because")
    assert code != 0
    assert "nothing to accept" in err
    (folder / "LICENSE").unlink()
    assert run(*asked)[0] != 0
    assert run(*asked, "--reason", " ")[0] != 0
    assert history(catalogue, version.subject) == []
