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
from headstock.errors import FailedPrecondition, InvalidInput, Unsupported
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


# ------------------------------------------------------------------------------------------------ recipes
def test_a_recipe_of_a_model_repeats_it_and_decides_everything_but_the_data(home: Path) -> None:
    assert run("--methods", "coral", "--seed", "7", "--lr", "0.002", "--batch-size", "16").exit_code == 0
    again = ["--data", "old.csv", "--target", "new.csv", "--name", "again", "--recipe", "moved:1"]
    assert CliRunner().invoke(command, again).exit_code == 0
    with Catalogue.open() as catalogue:
        first, second = (catalogue.version(Reference(name)) for name in ("moved", "again"))
        recipe = catalogue.store.read_json(catalogue.artefact(first.subject).files["recipe"])
    assert first.subject == second.subject
    assert (recipe["seed"], recipe["adaptation"]["runs"], recipe["adaptation"]["methods"]) == (7, 2, ["coral"])
    assert recipe["strategy"]["phases"][0]["learning_rate"] == 0.002
    assert recipe["optimizer"]["batch_size"] == 16
    refused = CliRunner().invoke(command, [*again, "--seed", "3"]).exception
    assert isinstance(refused, InvalidInput)
    assert "--seed is decided by the recipe" in refused.message


def test_another_seed_is_another_head(home: Path) -> None:
    assert run("--methods", "coral").exit_code == run("--methods", "coral", "--seed", "9").exit_code == 0
    with Catalogue.open() as catalogue:
        first, second = (catalogue.version(Reference.parse(f"moved:{n}")) for n in (1, 2))
    assert first.subject != second.subject


def test_a_recipe_is_refused_for_another_target_and_by_other_commands(home: Path) -> None:
    assert run("--methods", "coral").exit_code == 0
    (home / "newer.csv").write_text((home / "new.csv").read_text() + "please where is my order\n")
    other = ["--data", "old.csv", "--target", "newer.csv", "--name", "x", "--recipe", "moved:1"]
    error = CliRunner().invoke(command, other).exception
    assert isinstance(error, FailedPrecondition)
    assert "is not the target of the recipe" in error.message
    tuned = CliRunner().invoke(cli, ["fine-tune", "--recipe", "moved:1", "--data", "old.csv", "--name", "x"]).exception
    assert isinstance(tuned, InvalidInput)
    assert tuned.fix is not None
    assert tuned.fix.startswith("headstock adapt --recipe")
    refitted = CliRunner().invoke(cli, ["update", "moved:1", "--refit", "old.csv"]).exception
    assert isinstance(refitted, Unsupported)


def test_what_is_missing_or_no_rate_is_told(home: Path) -> None:
    bare = CliRunner().invoke(command, ["--data", "old.csv", "--target", "new.csv", "--name", "x", "--head", "h"])
    assert isinstance(bare.exception, InvalidInput)
    assert "--backbone is missing" in bare.exception.message
    assert isinstance(run("--lr", "0").exception, InvalidInput)
