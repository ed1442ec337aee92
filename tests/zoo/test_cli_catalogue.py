"""The commands that read and change the catalogue: what they print, and with which exit code they end."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from headstock.catalogue import Catalogue
from headstock.cli.main import main
from headstock.records import Certificate, Evidence
from headstock.settings import Settings
from headstock.testing.publications import backbone_publication, model_publication


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("HEADSTOCK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HEADSTOCK_ACTOR", "ada")
    return Settings.from_environment()


@pytest.fixture
def catalogue(settings: Settings) -> Iterator[Catalogue]:
    with Catalogue.open(settings) as opened:
        yield opened


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["headstock", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    return command


@pytest.fixture
def filled(catalogue: Catalogue) -> Catalogue:
    """Two versions of a backbone with contradicting licences, and a promoted model on the newest."""
    for seed in range(2):
        licences = [("Apache-2.0", "card"), ("MIT", "package-metadata")]
        backbone = catalogue.publish(backbone_publication(catalogue.store, "minilm", seed=seed, licences=licences))
    catalogue.publish(model_publication(catalogue.store, "intents", backbone.subject, labels=("refund", "delivery")))
    catalogue.promote("intents", 1, reason="first one")
    return catalogue


# ---------------------------------------------------------------------------------------------- list
def test_list_prints_a_table(filled: Catalogue, run: Run) -> None:
    done = run("list")

    header, intents, minilm = done.out.splitlines()
    assert header.split() == [
        "NAME",
        "VERSION",
        "ALIASES",
        "KIND",
        "FAMILY",
        "HEAD",
        "BACKBONE",
        "SIZE",
        "SHARED",
        "LICENCE",
        "VERDICT",
        "AGE",
    ]
    assert re.fullmatch(
        r"intents +1 +production +model +bert +text-classification +minilm +\d+ B +[\d.]+ kB "
        r"+Apache-2\.0 / MIT +allow +now",
        intents,
    )
    assert re.fullmatch(
        r"minilm +2 +- +backbone +bert +- +[0-9a-f]{12} +[\d.]+ kB +- +Apache-2\.0 / MIT +allow +now", minilm
    )
    assert done.code == 0


def test_list_shows_the_newest_and_the_aliased_unless_asked_for_all(filled: Catalogue, run: Run) -> None:
    assert run("list", "--format", "quiet").out.split() == ["intents:1", "minilm:2"]
    assert run("list", "--format", "quiet", "--all").out.split() == ["intents:1", "minilm:2", "minilm:1"]
    filled.promote("minilm", 1, "old")
    assert run("list", "--format", "quiet", "--kind", "backbone").out.split() == ["minilm:2", "minilm:1"]


def test_list_as_json_is_complete(filled: Catalogue, run: Run) -> None:
    records = json.loads(run("list", "--format", "json").out)

    assert [record["name"] for record in records] == ["intents", "minilm"]
    assert records[0]["licences"] == ["Apache-2.0", "MIT"]
    assert records[0]["backbone"] == records[1]["backbone"]


def test_an_empty_list_says_how_to_begin(run: Run) -> None:
    done = run("list")

    assert (done.code, done.out) == (0, "")
    assert "headstock pull" in done.err


# ---------------------------------------------------------------------------------------------- show
def test_show_prints_every_licence_statement_with_its_source_and_names_the_conflict(
    filled: Catalogue, run: Run
) -> None:
    page = run("show", "minilm").out

    assert "CONFLICT: the sources of backbone bert declare Apache-2.0 (card) but MIT (package-metadata)" in page
    for licence, source in (("Apache-2.0", "card"), ("MIT", "package-metadata")):
        assert re.search(rf"{re.escape(licence)} +{source}, about backbone bert", page)
        assert f"at hf:org/bert@{1:040x}/{source}" in page
        assert f"in its words: 'says {licence}'" in page


def test_agreeing_sources_are_no_conflict(catalogue: Catalogue, run: Run) -> None:
    licences = [("MIT", "card"), ("MIT", "licence-file"), ("NOASSERTION", "config")]
    catalogue.publish(backbone_publication(catalogue.store, "minilm", licences=licences))

    assert "CONFLICT" not in run("show", "minilm").out


def test_licences_of_different_artefacts_are_no_conflict(filled: Catalogue, run: Run) -> None:
    publication = model_publication(filled.store, "other", filled.newest("minilm").subject, seed=3)
    data = Evidence(publication.artefacts[0].digest, "licence", "CC0-1.0", "operator", "tickets.csv")
    filled.publish(replace(publication, evidence=[data]))

    page = run("show", "other").out

    assert "CC0-1.0       operator, about dataset tickets.csv" in page
    assert page.count("CONFLICT") == 1, "only the backbone's own sources contradict each other"


def test_show_prints_what_a_model_is_made_of_and_how_good_it_is(filled: Catalogue, run: Run) -> None:
    page = run("show", "intents").out

    assert page.startswith("intents:1  (production, newest)\na model: head text-classification (linear) on tap 'mean'")
    assert "of backbone minilm:2 (bert)" in page
    for part in ("model", "head", "backbone"):
        assert re.search(rf"  {part} +sha256:[0-9a-f]{{64}}", page)
    assert re.search(r"head +parameters +12 B", page)
    assert re.search(r"accuracy +0\.9 +\[0\.8, 0\.95\] +95 %, wilson", page)
    assert "refund, delivery" in page
    assert "alone and together bit-equal on CPUExecutionProvider: may share batches" in page
    assert "trained_on dataset tickets.csv" in page
    assert "converted_from source hf:org/bert" in page
    assert re.search(r"production -> 1\n +\S+Z  promote to 1 by ada: first one", page)


def test_show_takes_a_version_or_an_alias(filled: Catalogue, run: Run) -> None:
    assert run("show", "minilm:1", "--format", "quiet").out == "minilm:1\n"
    assert run("show", "intents:production", "--format", "quiet").out == "intents:1\n"


def test_show_as_json_has_the_whole_record(filled: Catalogue, run: Run) -> None:
    (record,) = json.loads(run("show", "intents", "--format", "json").out)

    assert record["digests"]["model"] == filled.newest("intents").subject
    assert record["head"]["postprocess"]["labels"] == ["refund", "delivery"]
    assert record["licence"]["conflicts"][0]["values"] == {
        "Apache-2.0": ["card"],
        "MIT": ["package-metadata"],
    }
    assert {f["role"] for f in record["files"]} >= {"graph", "parameters", "recipe", "report"}


def test_show_says_when_a_backbone_may_not_share_batches(catalogue: Catalogue, run: Run) -> None:
    publication = backbone_publication(catalogue.store, "leaky")
    leaky = Certificate(publication.subject, 0.0, 0.25, False, "CPUExecutionProvider", {})
    catalogue.publish(replace(publication, certificates=[leaky]))
    catalogue.publish(replace(backbone_publication(catalogue.store, "unchecked", seed=5), certificates=[]))

    assert "FAILED: a row moved by 0.25 with its neighbours (allowed 0)" in run("show", "leaky").out
    assert "no certificate: this backbone may not serve shared batches" in run("show", "unchecked").out


def test_a_card_cannot_make_the_terminal_do_things(catalogue: Catalogue, run: Run) -> None:
    publication = backbone_publication(catalogue.store, "minilm")
    evil = Evidence(publication.subject, "licence", "MIT", "card", "hf:a/b", "\x1b]0;owned\x07 MIT")
    catalogue.publish(replace(publication, evidence=[evil]))

    assert "\x1b" not in run("show", "minilm").out


def test_the_stored_recipe_is_toml(filled: Catalogue, run: Run) -> None:
    assert tomllib.loads(run("show", "intents", "--recipe").out) == {
        "seed": 0,
        "head": {"type": "text-classification"},
    }

    done = run("show", "minilm", "--recipe")
    assert (done.code, done.out) == (1, "")
    assert "minilm:2 is a backbone and has no recipe" in done.err


def test_an_unknown_name_is_two_lines_on_stderr_and_exit_code_1(filled: Catalogue, run: Run) -> None:
    done = run("show", "minlm")

    assert done.code == 1
    assert done.err == "error: there is no entry 'minlm'; did you mean 'minilm'?\ntry:   minilm\n"


@pytest.mark.parametrize("arguments", [["show", "x"], ["promote", "x"], ["rollback", "x"], ["remove", "x", "--yes"]])
def test_without_a_catalogue_nothing_is_created(run: Run, settings: Settings, arguments: list[str]) -> None:
    done = run(*arguments)

    assert (done.code, "there is no catalogue yet" in done.err) == (1, True)
    assert not settings.home.exists()


def test_a_name_that_cannot_be_is_bad_input(run: Run) -> None:
    done = run("show", "../../etc")

    assert done.code == 2
    assert "is not allowed" in done.err


# ---------------------------------------------------------------------------------------------- promote, rollback
def test_promote_moves_an_alias_and_says_from_where(filled: Catalogue, run: Run) -> None:
    assert run("promote", "minilm:1").out == "minilm:production is now version 1 (new)\n"
    assert run("promote", "minilm", "--reason", "better").out == "minilm:production is now version 2 (was version 1)\n"
    assert run("promote", "minilm").out == "minilm:production stays at version 2\n"
    assert run("promote", "minilm:production", "canary").out == "minilm:canary is now version 2 (new)\n"
    assert filled.aliases("minilm") == {"canary": 2, "production": 2}
    assert filled.alias_history("minilm", "production")[1].reason == "better"


def test_rollback_goes_back_and_says_so(filled: Catalogue, run: Run) -> None:
    for number in (1, 2):
        filled.promote("minilm", number)

    done = run("rollback", "minilm", "--reason", "slow")

    assert done.out == "minilm:production is back at version 1 (was version 2)\n"
    assert filled.alias_history("minilm", "production")[-1].reason == "slow"
    again = run("rollback", "minilm")
    assert (again.code, "no earlier target is left" in again.err) == (1, True)


# ---------------------------------------------------------------------------------------------- remove, gc
def test_remove_says_what_goes_before_it_goes(filled: Catalogue, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("remove", "intents", "--dry-run").out == "would remove intents:1 and the aliases production\n"
    assert filled.names() == ["intents", "minilm"]

    done = run("remove", "intents", "--yes")
    assert done.out.startswith("removed intents:1 and the aliases production")
    assert filled.names() == ["minilm"]


@pytest.mark.parametrize("answer, left", [("n", ["intents", "minilm"]), ("y", ["minilm"])])
def test_remove_asks_first(
    filled: Catalogue, run: Run, monkeypatch: pytest.MonkeyPatch, answer: str, left: list[str]
) -> None:
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: answer)

    done = run("remove", "intents")

    assert filled.names() == left
    assert done.code == (0 if answer == "y" else 130)


def test_remove_refuses_what_something_needs(filled: Catalogue, run: Run) -> None:
    for reference, why in (
        ("intents:1", "alias 'production' points to it"),
        ("minilm", "intents:1 stands on it"),
    ):
        done = run("remove", reference, "--yes")
        assert (done.code, why in done.err, "try:" in done.err) == (1, True, True)
    assert filled.names() == ["intents", "minilm"]


def test_gc_tells_blobs_and_bytes(filled: Catalogue, run: Run) -> None:
    assert run("gc").out == "deleted 0 blobs (0 B), 0 records\nkept 11 blobs\n"
    filled.remove("minilm", 1)

    plan = run("gc", "--dry-run").out
    assert re.fullmatch(r"([0-9a-f]{12}\n){4}would delete 4 blobs \([\d.]+ kB\), 2 records\nkept 7 blobs\n", plan)
    (report,) = json.loads(run("gc", "--format", "json").out)
    assert len(report["blobs"]) == 4
    assert filled.verify().clean


# ---------------------------------------------------------------------------------------------- verify
def test_verify_of_a_good_catalogue_ends_with_0(filled: Catalogue, run: Run) -> None:
    done = run("verify")

    assert done.code == 0
    assert re.fullmatch(r"clean: 3 versions, 7 artefacts, 4 events, 11 blobs \([\d.]+ kB\) checked\n", done.out)


def test_verify_ends_with_1_and_names_the_versions_that_cannot_be_trusted(filled: Catalogue, run: Run) -> None:
    graph = filled.store.path(filled.artefact(filled.newest("minilm").subject).files["graph"])
    graph.chmod(0o644)
    graph.write_bytes(b"flipped")

    done = run("verify")
    assert done.code == 1
    assert re.search(r"blob-corrupt: graph of backbone [0-9a-f]{12}: blob [0-9a-f]{12}.* holds other bytes", done.out)
    assert "affects intents:1, minilm:2" in done.out
    assert "try: headstock verify --repair" in done.out
    quiet = run("verify", "--format", "quiet")
    assert (quiet.code, quiet.out.split()) == (1, ["intents:1", "minilm:2"])
    (report,) = json.loads(run("verify", "--format", "json").out)
    assert (report["clean"], report["problems"][0]["kind"]) == (False, "blob-corrupt")

    assert "moved to the store's quarantine folder" in run("verify", "--repair").out
    assert not graph.exists()


@pytest.mark.parametrize("name", ["list", "show", "promote", "rollback", "remove", "gc", "verify"])
def test_every_command_explains_itself(run: Run, name: str) -> None:
    done = run(name, "--help")

    assert done.code == 0
    assert done.out.startswith(f"Usage: headstock {name}") or f" {name} " in done.out.splitlines()[0]


def test_details_of_any_publisher_are_printed(catalogue: Catalogue, run: Run) -> None:
    publication = backbone_publication(catalogue.store, "minilm")
    details: dict[str, Any] = {
        "source": "hf:org/name",
        "commit": "c0ffee",
        "files": {"config.json": "sha256:" + "1" * 64},
        "parity": {"mean": {"max_error": 1.5e-06, "scale": 6.3}},
        "parameters": 22_565_376,
        "versions": {"torch": "2.13.0"},
    }
    catalogue.publish(replace(publication, details=details))

    page = run("show", "minilm").out

    for expected in (
        "from          hf:org/name",
        "commit        c0ffee",
        "config.json  sha256:111",
        "mean  differs from torch by at most 1.5e-06  of 6.3",
        "parameters      22565376",
        "versions        torch 2.13.0",
    ):
        assert expected in page
