"""`headstock recipe`: what decides a fine-tune, written before it runs, checked, and compared."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from headstock.catalogue import Catalogue
from headstock.cli.main import cli
from headstock.errors import FailedPrecondition, HeadstockError, InvalidInput
from headstock.settings import Settings
from headstock.testing.toy import publish_backbone

ROWS = "text,label\n" + "".join(
    f"words {n} {'up' if n % 2 else 'down'},{'up' if n % 2 else 'down'}\n" for n in range(20)
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADSTOCK_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(tmp_path / "home")})) as catalogue:
        publish_backbone(catalogue)
    (tmp_path / "rows.csv").write_text(ROWS)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def ok(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exception is None, result.exception
    return result.stdout


def error_of(*arguments: str) -> HeadstockError:
    error = run(*arguments).exception
    assert isinstance(error, HeadstockError)
    return error


def init(*more: str, out: str = "mine.toml") -> str:
    common = ("--backbone", "toy", "--head", "text-classification", "--data", "rows.csv", "--epochs", "3")
    return ok("recipe", "init", *common, "--out", out, *more)


def test_a_recipe_that_was_written_runs_and_names_the_run(home: Path) -> None:
    init()
    assert "text-classification on toy by feature-extraction" in ok("recipe", "validate", "mine.toml")
    ok("fine-tune", "--recipe", "mine.toml", "--data", "rows.csv", "--name", "words")
    assert ok("recipe", "diff", "mine.toml", "words:1") == "the recipes are the same\n"


def test_without_a_file_the_recipe_goes_to_standard_output(home: Path) -> None:
    text = ok("recipe", "init", "--backbone", "toy", "--head", "text-classification", "--data", "rows.csv")
    assert tomllib.loads(text)["head"]["type"] == "text-classification"


def test_a_file_that_exists_is_not_overwritten(home: Path) -> None:
    init()
    before = (home / "mine.toml").read_bytes()
    arguments = ("--backbone", "toy", "--head", "text-classification", "--data", "rows.csv", "--out", "mine.toml")
    assert "exists already" in error_of("recipe", "init", *arguments).message
    assert (home / "mine.toml").read_bytes() == before


def test_recipes_differ_by_setting(home: Path) -> None:
    init()
    init("--seed", "4", "--lr", "0.5", out="other.toml")
    lines = [line.split() for line in ok("recipe", "diff", "mine.toml", "other.toml").splitlines()]
    assert ["seed", "0", "4"] in lines
    assert ["strategy.phases.0.learning_rate", "0.003", "0.5"] in lines
    assert all(line[0] in ("SETTING", "seed", "split.seed", "strategy.phases.0.learning_rate") for line in lines)


@pytest.mark.parametrize(
    "old, new, said",
    [
        ('tap = "mean"', 'tap = "pooled"', "no tap 'pooled'"),
        ('type = "text-classification"', 'type = "text-clasification"', "text-clasification"),
        ("seed = 0", "sead = 0", "did you mean 'seed'?"),
    ],
)
def test_what_could_not_run_is_named(home: Path, old: str, new: str, said: str) -> None:
    init()
    text = (home / "mine.toml").read_text()
    assert old in text
    (home / "mine.toml").write_text(text.replace(old, new, 1))
    assert said in error_of("recipe", "validate", "mine.toml").message


def test_other_data_than_the_recipes_is_told(home: Path) -> None:
    init()
    (home / "june.csv").write_text(ROWS.replace("words", "other"))
    assert ok("recipe", "validate", "mine.toml", "--data", "rows.csv")
    error = error_of("recipe", "validate", "mine.toml", "--data", "june.csv")
    assert isinstance(error, FailedPrecondition)
    assert "'june.csv'" in error.message


def test_an_option_out_of_range_writes_nothing(home: Path) -> None:
    arguments = ("--backbone", "toy", "--head", "text-classification", "--data", "rows.csv", "--out", "bad.toml")
    assert isinstance(error_of("recipe", "init", *arguments, "--lr", "0"), InvalidInput)
    assert not (home / "bad.toml").exists()
