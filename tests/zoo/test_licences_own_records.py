"""Records of an operator's own, bought licences with their last day among them, and those that plugins ship as data."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from headstock.backbone.pull import pull
from headstock.catalogue import Catalogue
from headstock.cli.main import main
from headstock.errors import AlreadyExists, Corrupt, InvalidInput, NotFound
from headstock.hookspecs import LicenceRecord
from headstock.licences import Context, Policy, library, verdict
from headstock.licences.adoption import ADD, add, adopt
from headstock.licences.column import verdict_column
from headstock.licences.decisions import conclude
from headstock.licences.judge import Judge, Situation
from headstock.licences.proof import replay
from headstock.plugin_host import PluginHost, open_host
from headstock.plugin_host.manifest import Family, Manifest, Preset
from headstock.settings import Settings
from headstock.sources.directory import fetch_directory
from headstock.sources.fetched import is_allowed, is_licence_text
from headstock.testing.publications import backbone_publication

BOUGHT = """
id = "LicenseRef-acme-1"
name = "ACME enterprise licence, order 17"

[[documents]]
role = "agreement"
source = "contract 17 in the safe"

[[conditions]]
duty = "attribution"
on = ["host", "share"]

[outbound]
mode = "none"

[lifecycle]
expires = {expires}
"""
TODAY = datetime.now(UTC).date()


def bought(expires: date) -> str:
    return BOUGHT.format(expires=expires.isoformat())


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Catalogue]:
    """A catalogue with the non-commercial backbone `dino`."""
    monkeypatch.setenv("HEADSTOCK_HOME", str(tmp_path / "home"))
    with Catalogue.open(Settings.from_environment()) as opened:
        opened.publish(backbone_publication(opened.store, "dino", licences=[("CC-BY-NC-4.0", "hub-tag")]))
        yield opened


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["headstock", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return command


def buy(catalogue: Catalogue, tmp_path: Path, expires: date) -> None:
    path = tmp_path / "order-17.toml"
    path.write_text(bought(expires))
    add(catalogue, path, "order 17")
    conclude(catalogue, catalogue.newest("dino").subject, "LicenseRef-acme-1", "order 17")


COMMERCIAL = Context(purpose="commercial", audience="public")


# ---------------------------------------------------------------------------------------------- an operator's
def test_a_bought_licence_is_a_record_that_verdicts_follow(catalogue: Catalogue, tmp_path: Path) -> None:
    dino = catalogue.newest("dino").subject
    assert verdict(catalogue, dino, COMMERCIAL).value == "deny"

    buy(catalogue, tmp_path, TODAY)

    found = verdict(catalogue, dino, COMMERCIAL)
    assert found.value == "allow", "a grant holds on its last day"
    assert [(d.duty, d.licence) for d in found.duties] == [("attribution", "LicenseRef-acme-1")]
    assert replay(found.proof) == "allow"


def test_a_grant_that_has_ended_denies(catalogue: Catalogue, tmp_path: Path) -> None:
    buy(catalogue, tmp_path, TODAY - timedelta(days=1))

    found = verdict(catalogue, catalogue.newest("dino").subject, COMMERCIAL)

    assert found.value == "deny"
    assert f"the grant of LicenseRef-acme-1 ended on {TODAY - timedelta(days=1)}" in found.reason


def test_a_proof_states_its_day_where_the_day_matters_and_replays_for_that_day(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    dino = catalogue.newest("dino").subject
    assert "date" not in verdict(catalogue, dino, COMMERCIAL).proof
    buy(catalogue, tmp_path, TODAY)
    proof = dict(verdict(catalogue, dino, COMMERCIAL).proof)
    assert proof["date"] == TODAY.isoformat()

    with pytest.raises(Corrupt, match="but it is 'deny'"):
        replay({**proof, "date": (TODAY + timedelta(days=1)).isoformat()})


def test_a_judge_of_another_day_judges_that_day(catalogue: Catalogue, tmp_path: Path) -> None:
    buy(catalogue, tmp_path, date(2030, 6, 30))
    doc = library.get("LicenseRef-acme-1")
    policy = Policy.default()
    days = {
        day: Judge(policy, COMMERCIAL, day).judge(doc, Situation()).value
        for day in (date(2030, 6, 30), date(2030, 7, 1))
    }
    assert days == {date(2030, 6, 30): "allow", date(2030, 7, 1): "deny"}


def test_adding_a_record_is_an_event_of_the_audit_log(catalogue: Catalogue, tmp_path: Path) -> None:
    """So a running server judges anew, and who bought what can be read later."""
    buy(catalogue, tmp_path, TODAY)

    event = next(e for e in catalogue.events() if e.action == ADD)

    assert (event.subject, event.detail["reason"]) == ("LicenseRef-acme-1", "order 17")
    assert event.detail["record"] == library.get("LicenseRef-acme-1").digest


def test_a_listing_follows_a_record_that_was_edited_by_hand(catalogue: Catalogue, tmp_path: Path) -> None:
    buy(catalogue, tmp_path, TODAY)
    dino = catalogue.newest("dino").subject

    def column() -> str:
        with catalogue.snapshot() as query:
            return verdict_column(catalogue.settings, query, "commercial")[dino]

    assert column() == "allow"
    record = catalogue.settings.home / "licences" / "LicenseRef-acme-1.toml"
    record.write_text(bought(TODAY - timedelta(days=1)) + " # ended")
    assert column() == "deny"


@pytest.mark.parametrize(
    "text, error, said",
    [
        (bought(TODAY).replace("LicenseRef-acme-1", "MIT"), Corrupt, "Headstock's own"),
        (bought(TODAY).replace("LicenseRef-acme-1", "LicenseRef-headstock-mine"), Corrupt, "Headstock's own"),
        (bought(TODAY).replace("mode =", "moed ="), Corrupt, "order-17.toml"),
        ("id =", Corrupt, "is not TOML"),
        ("[[documents]]\nsource = 'x'", Corrupt, "has no 'id'"),
        ("documents = [3]", Corrupt, "order-17.toml"),
    ],
)
def test_a_wrong_record_is_refused(
    catalogue: Catalogue, tmp_path: Path, text: str, error: type[Exception], said: str
) -> None:
    path = tmp_path / "order-17.toml"
    path.write_text(text)
    with pytest.raises(error, match=said):
        add(catalogue, path, "order 17")
    assert not list((catalogue.settings.home / "licences").glob("*"))


def test_a_record_needs_a_file_and_a_reason(catalogue: Catalogue, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no file"):
        add(catalogue, tmp_path / "none.toml", "order 17")
    with pytest.raises(InvalidInput, match="needs a reason"):
        add(catalogue, tmp_path / "none.toml", " ")


def test_a_damaged_record_in_the_folder_stops_every_verdict(catalogue: Catalogue) -> None:
    """Fail closed: what it would have said is not known."""
    folder = catalogue.settings.home / "licences"
    folder.mkdir()
    (folder / "LicenseRef-acme-1.toml").write_text(bought(TODAY).replace("LicenseRef-acme-1", "LicenseRef-other"))
    with pytest.raises(Corrupt, match="says that it is 'LicenseRef-other'") as error:
        verdict(catalogue, catalogue.newest("dino").subject)
    assert error.value.fix == "call it LicenseRef-other.toml"


def test_a_record_of_one_installation_is_unknown_to_another(catalogue: Catalogue, tmp_path: Path) -> None:
    buy(catalogue, tmp_path, TODAY)
    library.use(tmp_path / "elsewhere")
    assert library.find("LicenseRef-acme-1") is None
    library.use(catalogue.settings.home / "licences")
    assert library.find("LicenseRef-acme-1") is not None


def test_the_commands_add_list_and_show_a_record(
    catalogue: Catalogue, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    path = tmp_path / "order-17.toml"
    limit = '[[restrictions]]\nkind = "field-of-use"\nvalues = ["gambling"]\n\n[lifecycle]'
    path.write_text(bought(date(2031, 1, 31)).replace("[lifecycle]", limit))

    code, out, _ = run("licence", "add", str(path), "--reason", "order 17")

    assert (code, out) == (0, "LicenseRef-acme-1 is known: ACME enterprise licence, order 17, until 2031-01-31\n")
    assert "LicenseRef-acme-1" in run("licence", "list", "--format", "quiet")[1].split()
    assert '"expires": "2031-01-31"' in run("licence", "show", "LicenseRef-acme-1")[1]
    sectors = run("licence", "list", "--sectors")[1].split()
    assert {"gambling", "military"} <= set(sectors)
    assert run("licence", "conclude", "dino", "--as", "LicenseRef-acme-1", "--reason", "order 17")[0] == 0
    assert run("licence", "why", "dino", "--sector", "gambling", "--purpose", "commercial")[0] == 1


# ---------------------------------------------------------------------------------------------- plugins
@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """Put a package on the path that ships a record and fails when it is imported."""
    monkeypatch.syspath_prepend(str(tmp_path / "site"))

    def make(name: str, text: str) -> str:
        folder = tmp_path / "site" / name / "licences"
        folder.mkdir(parents=True)
        (folder.parent / "__init__.py").write_text("raise AssertionError('a plugin was imported')")
        (folder / "LicenseRef-acme-1.toml").write_text(text)
        return name

    return make


def test_a_record_that_a_plugin_ships_is_taken_over_without_importing_it(
    catalogue: Catalogue, packages: Callable[[str, str], str]
) -> None:
    name = packages("acme_plugin", bought(TODAY))

    (doc,) = adopt(catalogue, ["LicenseRef-acme-1", "MIT", "../LicenseRef-acme-1"], [name])

    assert doc.id == "LicenseRef-acme-1"
    assert adopt(catalogue, ["LicenseRef-acme-1"], [name]) == [], "it is here already"
    assert next(e for e in catalogue.events() if e.action == ADD).detail["reason"] == f"shipped by package {name}"


def test_what_an_operator_has_is_not_replaced_and_two_plugins_are_both_named(
    catalogue: Catalogue, tmp_path: Path, packages: Callable[[str, str], str]
) -> None:
    names = [packages("one_plugin", bought(TODAY)), packages("two_plugin", bought(TODAY + timedelta(days=9)))]
    with pytest.raises(AlreadyExists, match="one_plugin and two_plugin"):
        adopt(catalogue, ["LicenseRef-acme-1"], names)
    buy(catalogue, tmp_path, TODAY - timedelta(days=1))
    assert adopt(catalogue, ["LicenseRef-acme-1"], names) == []
    assert verdict(catalogue, catalogue.newest("dino").subject, COMMERCIAL).value == "deny"


def preset(source: str, licence: str, revision: str = "") -> Manifest:
    family = Family("bert", "text", presets=(Preset("p", source, licence, revision),))
    return Manifest("acme", "acme", "1.0", "acme", "acme.plugin", ">=1.0,<2", "MIT", families=(family,))


def test_a_manifest_s_presets_and_its_hook_are_evidence_and_their_records_come_along(
    tiny_catalogue: Catalogue,
    tiny_checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    packages: Callable[[str, str], str],
) -> None:
    source, package = f"path:{tiny_checkpoint.name}", packages("acme_plugin", bought(TODAY))
    manifests = [
        *PluginHost.manifests(open_host()),
        replace(preset(source, "LicenseRef-acme-1"), package=package),
        preset(source, "NOASSERTION"),
        preset("path:another", "MIT"),
    ]
    monkeypatch.setattr(PluginHost, "manifests", lambda self: manifests)
    monkeypatch.setattr(
        PluginHost, "licence_records", lambda self: [LicenceRecord(source, "MIT", "https://acme.example")]
    )

    version = pull(tiny_catalogue, open_host(), f"path:{tiny_checkpoint}", "tiny")

    said = sorted((s.value, s.locator) for s in tiny_catalogue.evidence(version.subject) if s.source == "manifest")
    assert said == [("LicenseRef-acme-1", "acme 1.0: preset p"), ("MIT", "https://acme.example")]
    found = verdict(tiny_catalogue, version.subject, COMMERCIAL)
    assert "conflict" in {finding.kind for finding in found.findings}, "evidence, not a conclusion"


def test_a_preset_that_pins_a_revision_says_nothing_of_others() -> None:
    from headstock.licences.plugin_statements import preset_records

    pinned = [preset("hf:acme/base", "MIT", "abc123")]
    assert [r.licence for r in preset_records(pinned, "hf:acme/base@abc123ff")] == ["MIT"]
    assert preset_records(pinned, "hf:acme/base@ffff") == []


@pytest.mark.parametrize(
    "subject, licence",
    [
        ("hf:openai-community/gpt2", "LicenseRef-headstock-gpt2-modified-mit"),
        ("hf:facebook/wav2vec2-base-960h", "MIT"),
        ("hf:openai/clip-vit-base-patch32", "MIT"),
    ],
)
def test_the_first_plugins_say_what_repositories_leave_out_through_the_same_hook(subject: str, licence: str) -> None:
    found: list[Any] = [r for r in open_host().licence_records() if r.subject == subject]
    assert [r.licence for r in found] == [licence]
    assert found[0].evidence.startswith("https://")


# ---------------------------------------------------------------------------------------------- files
@pytest.mark.parametrize(
    "name",
    ["LICENSE", "LICENSE_MODEL", "LICENSE_MODELS", "LICENSE-MODEL", "MODEL_LICENSE.md", "COPYING", "COPYING.txt"],
)
def test_every_usual_name_of_a_licence_text_is_fetched(name: str) -> None:
    assert is_allowed(name)
    assert is_licence_text(name)


@pytest.mark.parametrize("name", ["LICENSE-CODE", "LICENSE.py.bin", "LICENSES/MIT.txt", "MY_LICENSE"])
def test_what_speaks_of_something_else_is_not(name: str) -> None:
    assert not is_licence_text(name)


def test_a_model_licence_and_a_use_policy_come_along(tiny_checkpoint: Path, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))
    (folder / "LICENSE_MODEL").write_text("ACME MODEL LICENCE: be kind.")
    (folder / "USE_POLICY.md").write_text("Do not be unkind.")
    (folder / "LICENSE-CODE").write_text("MIT License")
    (tmp_path / "work").mkdir()

    fetched = fetch_directory(f"path:{folder}", str(folder), tmp_path / "work")

    assert {"model-licence", "use-policy"} <= fetched.documents.keys()
    said = [s for s in fetched.statements if s.source == "licence-file"]
    assert {s.locator for s in said} == {"path:checkpoint/LICENSE", "path:checkpoint/LICENSE_MODEL"}
    assert "ACME MODEL LICENCE: be kind." in {s.raw for s in said}


# ---------------------------------------------------------------------------------------------- tokenizers
@pytest.mark.parametrize(
    "written, named",
    [
        ('{"name_or_path": "acme/words"}', "hf:acme/words"),
        ('{"name_or_path": "bert-base-uncased"}', ""),
        ('{"name_or_path": "/home/ada/words"}', ""),
        ('{"name_or_path": 3}', ""),
    ],
)
def test_a_tokenizer_from_another_repository_is_lineage(
    tiny_catalogue: Catalogue, tiny_checkpoint: Path, tmp_path: Path, written: str, named: str
) -> None:
    """Nobody licensed that repository, so the verdict cannot say yes any more."""
    import shutil

    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))
    (folder / "tokenizer_config.json").write_text(written)

    version = pull(tiny_catalogue, open_host(), f"path:{folder}", "words")

    edges = [e for e in tiny_catalogue.edges(child=version.subject) if e.relation == "uses_tokenizer_of"]
    assert [e.note for e in edges] == ([named] if named else [])
    steps = str(verdict(tiny_catalogue, version.subject, COMMERCIAL).proof["of"])
    assert ("uses_tokenizer_of" in steps) is bool(named)
