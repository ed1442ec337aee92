"""`headstock adapt` as a person meets it: the table, the version, its lineage, wrong words."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from headstock.catalogue import Catalogue
from headstock.cli.adapt import command
from headstock.cli.main import cli
from headstock.errors import InvalidInput
from headstock.names import Reference
from headstock.testing.toy import publish_backbone


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue with a backbone, labelled `old.csv` and unlabelled `new.csv`."""
    monkeypatch.setenv("HEADSTOCK_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with Catalogue.open() as catalogue:
        publish_backbone(catalogue)
    dice = random.Random(0)
    lines = [(f"w{dice.randrange(100)} {('awful', 'great')[i % 2]} {i}", ("bad", "good")[i % 2]) for i in range(60)]
    (tmp_path / "old.csv").write_text("message,kind\n" + "".join(f"{a},{b}\n" for a, b in lines))
    (tmp_path / "new.csv").write_text("message\n" + "".join(f"please where is {a}\n" for a, _ in lines))
    return tmp_path


def run(*more: str) -> Result:
    base = ["--backbone", "toy", "--head", "text-classification", "--data", "old.csv", "--target", "new.csv"]
    return CliRunner().invoke(command, [*base, "--name", "moved", "--seeds", "2", "--epochs", "3", *more])


def test_it_publishes_a_version_that_answers_and_knows_both_data_sets(home: Path) -> None:
    result = run("--methods", "coral,mcc", "--format", "json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["adaptation"]
    assert [score["method"] for score in found["methods"]] == ["source-only", "coral", "mcc"]
    with Catalogue.open() as catalogue:
        version = catalogue.version(Reference.parse("moved:1"))
    assert version.details["adaptation"]["verdict"] == found["verdict"]
    shown = CliRunner().invoke(cli, ["show", "moved:1"]).output
    assert "old.csv" in shown
    assert "new.csv" in shown
    assert CliRunner().invoke(cli, ["predict", "moved:1", "great"]).exit_code == 0


def test_the_table_has_a_line_per_method_and_the_verdict(home: Path) -> None:
    lines = run("--methods", "mmd").stdout.splitlines()
    assert lines[0] == "moved:1"
    assert [line.split()[0] for line in lines[1:4]] == ["METHOD", "source-only", "mmd"]
    assert lines[4].startswith("verdict: ")


def test_an_unknown_method_is_told_with_those_that_exist(home: Path) -> None:
    error = run("--methods", "corall").exception
    assert isinstance(error, InvalidInput)
    assert "coral, mcc, dann" in error.message
