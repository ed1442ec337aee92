"""`headstock fine-tune` as a person meets it: the last lines, the formats, the errors and what they say to type."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from headstock.catalogue import Catalogue
from headstock.cli.main import cli, main
from headstock.errors import HeadstockError
from headstock.finetune import Recipe
from headstock.names import Reference
from headstock.testing.toy import publish_backbone


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue with a backbone, and `tickets.csv` in the working folder."""
    monkeypatch.setenv("HEADSTOCK_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with Catalogue.open() as catalogue:
        publish_backbone(catalogue)
    _write(tmp_path / "tickets.csv", seed=1)
    return tmp_path


def _write(path: Path, *, seed: int, rows: int = 40) -> None:
    dice = random.Random(seed)
    words = {"good": ["great", "good", "thanks"], "bad": ["awful", "bad", "broken"]}
    lines = [f"w{dice.randrange(100)} {dice.choice(words[kind])} {i},{kind}" for i in range(rows) for kind in [
        "good" if i % 2 else "bad"
    ]]  # fmt: skip
    path.write_text("message,kind\n" + "\n".join(lines) + "\n")


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, ["fine-tune", *arguments])
    if result.exception is not None and not isinstance(result.exception, HeadstockError | SystemExit):
        raise result.exception
    return result


def grow(*arguments: str, name: str = "tickets", data: str = "tickets.csv") -> Result:
    quick = ["--epochs", "4", "--lr", "0.05"]
    base = ["--backbone", "toy", "--head", "text-classification", "--data", data, "--name", name]
    return run(*base, *quick, *arguments)


def error_of(result: Result) -> HeadstockError:
    assert isinstance(result.exception, HeadstockError), result.output
    return result.exception


# ------------------------------------------------------------------------------------------------ what it prints
def test_the_last_lines_say_what_was_made_how_good_it_is_and_what_to_type_next(home: Path) -> None:
    result = grow()
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[0] == "tickets:1"
    assert lines[1].split()[0] == "head"
    assert lines[1].split()[1].startswith("sha256:")
    assert lines[2].startswith("  accuracy   ")
    assert lines[2].endswith("(wilson, n=8)")
    assert any(line.startswith("  majority   0.500") for line in lines)
    assert lines[-3:] == ["  headstock promote tickets:1", '  headstock predict tickets:1 "..."', "  headstock serve"]


def test_guessed_columns_are_told_and_told_columns_are_not(home: Path) -> None:
    assert "columns: text from 'message', label from 'kind'" in grow().stderr
    told = grow("--text-column", "message", "--label-column", "kind", "--seed", "1")
    assert "columns:" not in told.stderr


def test_verbose_prints_one_line_per_epoch_on_stderr(home: Path) -> None:
    result = grow("--verbose")
    epochs = [line for line in result.stderr.splitlines() if line.startswith("epoch ")]
    assert len(epochs) == 4
    assert "loss" in epochs[0]
    assert "accuracy" in epochs[0]
    assert "epoch" not in grow(name="silent").stderr


def test_json_is_the_report_with_name_and_number(home: Path) -> None:
    record = json.loads(grow("--format", "json").stdout)
    assert (record["name"], record["number"], record["fresh"]) == ("tickets", 1, True)
    assert record["data"]["rows"] == 40
    assert record["metrics"][0]["name"] == "accuracy"


def test_quiet_prints_the_version_alone(home: Path) -> None:
    assert grow("--format", "quiet").stdout == "tickets:1\n"


def test_doing_the_same_again_says_so(home: Path) -> None:
    grow()
    assert "tickets:1 (the newest version was this very model already)" in grow().stdout


def test_promote_points_the_alias_at_the_new_version(home: Path) -> None:
    grow()
    result = grow("--seed", "1", "--promote", "production")
    assert "promoted   tickets:production is now version 2" in result.stdout
    with Catalogue.open() as catalogue:
        assert catalogue.version(Reference("tickets")).number == 2


# ------------------------------------------------------------------------------------------------ recipes
def test_a_saved_recipe_makes_the_same_head(home: Path) -> None:
    first = grow("--save-recipe", "mine.toml", "--seed", "4")
    again = run("--recipe", "mine.toml", "--data", "tickets.csv", "--name", "again")
    assert again.stdout.splitlines()[1] == first.stdout.splitlines()[1]
    assert Recipe.from_toml(home / "mine.toml").seed == 4


def test_a_models_own_recipe_makes_the_same_head(home: Path) -> None:
    first = grow("--seed", "4")
    again = run("--recipe", "tickets:1", "--data", "tickets.csv", "--name", "again")
    assert again.stdout.splitlines()[1] == first.stdout.splitlines()[1]


def test_a_recipe_refuses_other_data_unless_told(home: Path) -> None:
    first = grow()
    _write(home / "june.csv", seed=9)
    refused = run("--recipe", "tickets:1", "--data", "june.csv", "--name", "june")
    assert "is not the data of the recipe, 'tickets.csv'" in error_of(refused).message
    assert "--new-data" in str(error_of(refused).fix)
    allowed = run("--recipe", "tickets:1", "--data", "june.csv", "--name", "june", "--new-data")
    assert allowed.exit_code == 0
    assert allowed.stdout.splitlines()[1] != first.stdout.splitlines()[1]


def test_a_recipe_and_a_contradicting_option_are_refused(home: Path) -> None:
    grow()
    result = run("--recipe", "tickets:1", "--data", "tickets.csv", "--name", "again", "--epochs", "9")
    assert "--epochs is decided by the recipe" in error_of(result).message


def test_a_backbone_has_no_recipe(home: Path) -> None:
    result = run("--recipe", "toy:1", "--data", "tickets.csv", "--name", "again")
    assert "toy:1 is a backbone and has no recipe" in error_of(result).message


# ------------------------------------------------------------------------------------------------ errors
@pytest.mark.parametrize(
    "arguments, said, fix",
    [
        (["--text-column", "mesage"], "no column 'mesage'; it has 'message', 'kind'", "--text-column message"),
        (["--data", "empty.csv"], "'empty.csv' is empty", "write the rows to it"),
        (["--data", "one.csv"], "one class only, 'good'", "--label-column"),
        (["--data", "absent.csv"], "'absent.csv'", "a file or folder that exists"),
        (["--backbone", "toi"], "toi", "toy"),
        (["--head", "text-clasification"], "text-clasification", "text-classification"),
        (["--tap", "pooled"], "no tap 'pooled'; it has ['tokens', 'cls', 'mean']", "one of these"),
        (["--tap", "tokens"], "answers once for every row", "--tap cls"),
        (["--name", "Not A Name"], "'Not A Name' is not allowed", "not-a-name"),
        (["--head-option", "width"], "is not KEY=VALUE", "width=VALUE"),
        (["--lr", "0"], "--lr 0 is not usable", "--lr 0.003"),
        (["--validation", "0"], "--validation 0.0", "--validation 0.2"),
        (["--promote", "7"], "alias '7' is a number", "production"),
        (["--new-data"], "--new-data needs --recipe", "--recipe FILE"),
        (["--strategy", "gradul"], "no strategy 'gradul'; built in: feature-extraction", "--strategy gradual"),
    ],
)
def test_an_error_says_what_was_wrong_and_what_to_type(home: Path, arguments: list[str], said: str, fix: str) -> None:
    (home / "empty.csv").write_text("")
    (home / "one.csv").write_text("text,label\nfirst words,good\nother words,good\n")
    error = error_of(grow(*arguments))
    assert said in error.message
    assert fix in str(error.fix)
    with Catalogue.open() as catalogue:
        assert catalogue.names("model") == []


@pytest.mark.parametrize("missing", ["--backbone", "--head"])
def test_what_must_be_given_is_asked_for(home: Path, missing: str) -> None:
    given = {"--backbone": "toy", "--head": "text-classification", "--data": "tickets.csv", "--name": "t"}
    arguments = [part for option, value in given.items() if option != missing for part in (option, value)]
    assert error_of(run(*arguments)).message == f"{missing} is missing"


def test_the_command_prints_error_and_fix_on_two_lines_and_exits_with_2(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--backbone", "toy", "--head", "text-classification", "--data", "tickets.csv", "--name", "t"]
    monkeypatch.setattr(sys, "argv", ["headstock", "fine-tune", *arguments, "--label-column", "kin"])
    with pytest.raises(SystemExit) as caught:
        main()
    lines = capsys.readouterr().err.splitlines()
    assert caught.value.code == 2
    assert lines[0].startswith("error: 'tickets.csv' has no column 'kin'")
    assert lines[1] == "try:   --label-column kind"


def test_help_explains_every_option(home: Path) -> None:
    from headstock.cli.fine_tune import command

    assert all(getattr(parameter, "help", "") for parameter in command.params)
    assert "headstock fine-tune --backbone minilm" in run("--help").stdout


# ------------------------------------------------------------------------------------------------ while it works
def test_the_bars_of_a_terminal_show_features_epochs_and_figures_on_stderr(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from headstock.cli.fine_tune_progress import Bars, Lines, open_observer

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    assert isinstance(open_observer(verbose=True, quiet=False), Lines)
    bars = open_observer(verbose=False, quiet=False)
    assert isinstance(bars, Bars)
    bars.features(0, 40)
    bars.features(40, 40)
    grow("--save-recipe", "mine.toml")
    bars.start(Recipe.from_toml(home / "mine.toml"), 1)
    bars.say("resuming [run]")
    cost = {"seconds": 0.1, "rows_per_second": 310.0, "padding": 0.04, "peak_memory_bytes": 412_000_000}
    bars.epoch({"epoch": 2, "phase": "all", "live": ["embeddings"], "loss": 0.25, "accuracy": 0.875, **cost})
    bars.end()
    shown = capsys.readouterr()
    assert "features" in shown.err
    assert "40/40" in shown.err
    assert "2/4" in shown.err
    assert "loss 0.250  accuracy 0.875" in shown.err
    assert "resuming [run]" in shown.err
    assert "phase all: learning embeddings and the head" in shown.err
    assert shown.out == ""


def test_an_interrupted_run_says_how_to_go_on(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from headstock.cli.fine_tune_progress import Lines

    def interrupt(self: Lines, figures: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Lines, "epoch", interrupt)
        result = grow()
    assert result.exit_code != 0
    assert "run the same command again" in result.stderr
    assert "resuming run" in grow().stderr


# ------------------------------------------------------------------------------------------------ columns and splits
def _grouped(path: Path) -> Path:
    dice = random.Random(3)
    kinds = {"great": "good", "good": "good", "awful": "bad", "bad": "bad"}
    words = [dice.choice(list(kinds)) for _ in range(60)]
    rows = [
        f"{word} number {i},{kinds[word]},customer {i // 4},2026-01-{1 + i // 3:02},{i % 7}"
        for i, word in enumerate(words)
    ]
    path.write_text("\n".join(["text,label,customer,day,weight", *rows]) + "\n")
    return path


@pytest.mark.parametrize(
    "option, column, kind", [("--group-column", "customer", "group"), ("--time-column", "day", "time")]
)
def test_groups_and_times_can_decide_the_split_and_the_recipe_repeats_it(
    home: Path, option: str, column: str, kind: str
) -> None:
    _grouped(home / "grouped.csv")
    first = grow(option, column, "--save-recipe", "mine.toml", data="grouped.csv")
    assert first.exit_code == 0, first.output
    split = Recipe.from_toml(home / "mine.toml").split
    assert (split.kind, split.column) == (kind, column)  # type: ignore[union-attr]
    again = run("--recipe", "mine.toml", "--data", "grouped.csv", "--name", "again")
    assert again.stdout.splitlines()[1] == first.stdout.splitlines()[1]


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--group-column", "customer", "--time-column", "day"], "--group-column and --time-column each decide"),
        (["--group-column", "costumer"], "no column 'costumer'"),
        (["--time-column", "customer"], "no moment in column 'customer'"),
        (["--column", "weight"], "is not ROLE=COLUMN"),
        (["--column", "text=label", "--text-column", "text"], "two columns are given for the text"),
        (["--column", "weight=weight"], "reads no weight column; it needs text, label"),
    ],
)
def test_column_options_that_contradict_or_miss_are_refused(home: Path, arguments: list[str], said: str) -> None:
    _grouped(home / "grouped.csv")
    assert said in error_of(grow(*arguments, data="grouped.csv")).message


def test_any_role_can_be_named_by_the_general_option(home: Path) -> None:
    told = grow("--column", "text=message", "--column", "label=kind")
    assert told.exit_code == 0
    assert "columns:" not in told.stderr


@pytest.mark.parametrize("option, value", [("--lr", "1e30"), ("--backbone-lr", "1001"), ("--lr", "0")])
def test_a_rate_that_cannot_be_meant_is_refused_by_its_option(home: Path, option: str, value: str) -> None:
    message = error_of(grow(option, value, "--strategy", "full")).message
    assert option in message
    assert "at most 1000" in message
