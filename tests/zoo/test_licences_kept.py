"""Kept proofs: whoever has an id from a message can have it computed again, and a changed one shows."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from headstock.catalogue import Catalogue
from headstock.cli.main import main
from headstock.errors import LicenceRefused
from headstock.licences.enforcement import check_fine_tune, promote
from headstock.settings import Settings
from headstock.testing.publications import backbone_publication, model_publication

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Backbone `dino`, non-commercial, and model `flowers` on it; the policy means commercial use."""
    monkeypatch.setenv("HEADSTOCK_HOME", str(tmp_path / "home"))
    with Catalogue.open(Settings.from_environment()) as opened:
        dino = opened.publish(backbone_publication(opened.store, "dino", licences=[("CC-BY-NC-4.0", "hub-tag")]))
        opened.publish(model_publication(opened.store, "flowers", dino.subject))
    (tmp_path / "home" / "policy.toml").write_text('[context]\npurpose = "commercial"\n')
    return tmp_path / "home"


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["headstock", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return command


def refused(home: Path) -> list[str]:
    """Proof ids of a promotion and of a fine-tune that are refused."""
    found = []
    with Catalogue.open() as catalogue:
        dino = catalogue.newest("dino").subject
        for act in (
            lambda: promote(catalogue, catalogue.newest("flowers")),
            lambda: check_fine_tune(catalogue, dino, "dino", "more", "t.csv"),
        ):
            with pytest.raises(LicenceRefused) as error:
                act()
            found.append(str(error.value.proof_id))
    return found


def test_the_proof_of_a_refusal_replays_by_its_id(home: Path, run: Run) -> None:
    for proof_id in refused(home):
        code, out, _ = run("licence", "replay", proof_id)
        assert (code, out.splitlines()[0]) == (0, "deny: every step follows from its parts")
        assert "CC-BY-NC-4.0" in out


def test_the_proof_that_why_prints_replays_by_its_first_digits(home: Path, run: Run) -> None:
    (record,) = json.loads(run("licence", "why", "dino", "--purpose", "research", "--format", "json")[1])

    assert run("licence", "replay", record["proof_id"][:19], "--format", "quiet")[:2] == (0, "allow\n")
    assert json.loads(run("licence", "replay", record["proof_id"], "--format", "json")[1]) == record["proof"]


def test_a_changed_proof_is_refused(home: Path, run: Run) -> None:
    proof_id = refused(home)[0]
    path = home / "proofs" / f"{proof_id.removeprefix('sha256:')}.json"
    path.write_text(path.read_text().replace('"deny"', '"allow"'))

    code, _, err = run("licence", "replay", proof_id)

    assert code != 0
    assert "was changed" in err


@pytest.mark.parametrize(
    "asked, said",
    [("sha256:00000000", "no proof"), ("sha256:00", "at least 8"), ("../../etc/passwd", "is no proof id")],
)
def test_an_id_that_is_none_says_so(home: Path, run: Run, asked: str, said: str) -> None:
    code, _, err = run("licence", "replay", asked)
    assert code != 0
    assert said in err
