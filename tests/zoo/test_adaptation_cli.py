"""`headstock adapt` as a person meets it: the table, the version, its lineage, wrong words."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import NoReturn

import pytest
from click.testing import CliRunner, Result

from headstock.adaptation.journal import RunJournal
from headstock.catalogue import Catalogue
from headstock.cli.adapt import command
from headstock.cli.main import cli
from headstock.errors import FailedPrecondition, InvalidInput, Unsupported
from headstock.finetune.checkpoint import State
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
    assert lines[4] == "one split of the source, 2 seeds: ± is half the range over them"
    assert lines[5].startswith("verdict: ")


def test_an_unknown_method_is_told_with_those_that_exist(home: Path) -> None:
    error = run("--methods", "corall").exception
    assert isinstance(error, InvalidInput)
    assert "coral, mcc, dann" in error.message


# ------------------------------------------------------------------------------------------------ interruptions
def no_room(*given: object) -> NoReturn:
    raise OSError("no space left on device")


def test_what_was_stopped_before_its_end_goes_on_and_trains_nothing_twice(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two methods, two seeds, three epochs each: one attempt ends in the second run, the next at the end."""
    assert run("--methods", "dann", "--name", "calm").exit_code == 0
    began = RunJournal.epoch

    def stop(journal: RunJournal, method: str, seed: int, state: State) -> None:
        began(journal, method, seed, state)
        if (method, seed, len(state.history)) == ("source-only", 1, 2):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunJournal, "epoch", stop)
        assert run("--methods", "dann").exit_code != 0
    with monkeypatch.context() as patch:
        patch.setattr("headstock.adaptation.adapt.publish_adapted", no_room)
        told = run("--methods", "dann", "--verbose")
    assert "after epoch 5 of at most 12" in told.stderr
    assert "training source-only, seed 0" not in told.stderr
    assert [line.partition(":")[0] for line in told.stderr.splitlines() if line.startswith("epoch ")] == [
        f"epoch {number}" for number in range(6, 13)
    ]
    told = run("--methods", "dann", "--verbose")
    assert "after epoch 12 of at most 12" in told.stderr
    assert "training" not in told.stderr
    with Catalogue.open() as catalogue:
        calm, moved = (catalogue.version(Reference.parse(name)) for name in ("calm:1", "moved:1"))
    assert moved.subject == calm.subject
    assert moved.details == calm.details


def test_a_damaged_checkpoint_costs_its_run_and_no_other(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("headstock.adaptation.adapt.publish_adapted", no_room)
        run("--methods", "coral")
    (broken,) = (home / "home" / "runs").glob("*/checkpoint-coral-1")
    broken.write_bytes(broken.read_bytes()[:-7])
    told = run("--methods", "coral").stderr
    assert "after epoch 9 of at most 12" in told
    assert "the run's checkpoint is damaged; starting from the first epoch" in told
    assert [line for line in told.splitlines() if line.startswith("training")] == ["training coral, seed 1"]


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


def test_a_recipe_that_says_what_no_adaptation_does_is_refused(home: Path) -> None:
    assert run("--methods", "coral").exit_code == 0
    written = CliRunner().invoke(cli, ["show", "moved:1", "--recipe"]).stdout
    live = {"live = []": 'live = ["all"]', "backbone_rate = 0.0": "backbone_rate = 0.1"}
    for changes, words in (({"patience = 0": "patience = 3"}, "patience = 3"), (live, "lets all learn")):
        changed = written
        for old, new in changes.items():
            assert old in changed
            changed = changed.replace(old, new)
        (home / "recipe.toml").write_text(changed)
        again = ["--data", "old.csv", "--target", "new.csv", "--name", "x", "--recipe", "recipe.toml"]
        error = CliRunner().invoke(command, again).exception
        assert isinstance(error, InvalidInput)
        assert words in error.message


def test_the_recipe_of_an_adaptation_is_validated_with_both_data_sets(home: Path) -> None:
    def validate(*more: str) -> Result:
        return CliRunner().invoke(cli, ["recipe", "validate", *more])

    assert run("--methods", "coral").exit_code == 0
    assert validate("moved:1", "--data", "old.csv", "--target", "new.csv").exit_code == 0
    swapped = validate("moved:1", "--target", "old.csv").exception
    assert isinstance(swapped, FailedPrecondition)
    assert "'old.csv'" in swapped.message
    written = CliRunner().invoke(cli, ["show", "moved:1", "--recipe"]).stdout
    for old, new, words in (('"coral"', '"corall"', "'corall'"), ("patience = 0", "patience = 3", "patience = 3")):
        assert old in written
        (home / "recipe.toml").write_text(written.replace(old, new))
        error = validate("recipe.toml").exception
        assert isinstance(error, InvalidInput)
        assert words in error.message


def test_what_is_missing_or_no_rate_is_told(home: Path) -> None:
    bare = CliRunner().invoke(command, ["--data", "old.csv", "--target", "new.csv", "--name", "x", "--head", "h"])
    assert isinstance(bare.exception, InvalidInput)
    assert "--backbone is missing" in bare.exception.message
    assert isinstance(run("--lr", "0").exception, InvalidInput)
