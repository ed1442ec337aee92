"""Report pages of models that did not begin with a plain fine-tune, and the command that makes each of them again."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from headstock.catalogue import Catalogue
from headstock.cli.main import cli
from headstock.errors import FailedPrecondition, HeadstockError
from headstock.testing.toy import publish_backbone

WORDS = {"good": ["great", "good", "thanks"], "bad": ["awful", "bad", "broken"]}
QUICK = ("--epochs", "6", "--lr", "0.05", "--report", "none")

ALL = ("tickets:1", "tickets:2", "refit:2", "refit:3", "refit:4", "adapted", "student", "taught")


def write(path: str, rows: int, seed: int, *, labelled: bool = True) -> None:
    dice, lines = random.Random(seed), ["message,kind" if labelled else "message"]
    for i in range(rows):
        kind = ("good", "bad")[i % 2]
        text = f"w{dice.randrange(100)} {dice.choice(WORDS[kind])} w{dice.randrange(100)} {seed}-{i}"
        lines.append(f"{text},{kind}" if labelled else text)
    Path(path).write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tickets:1` trained, `:2` continued with replay, `refit:2` and `:3` updated, `adapted`, `student`, `taught`."""
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTOCK_HOME", str(folder / "home"))
        patch.chdir(folder)
        write("old.csv", 60, 1)
        write("new file.csv", 40, 2)
        write("more.csv", 10, 3)
        write("target.csv", 40, 4, labelled=False)
        with Catalogue.open() as catalogue:
            publish_backbone(catalogue, width=32)
            publish_backbone(catalogue, "little", width=8, seed=1)
        base = ("--backbone", "toy", "--head", "text-classification", "--data", "old.csv")
        done("fine-tune", *base, "--name", "tickets", *QUICK)
        replay = ("--replay", "0.5", "--replay-data", "old.csv")
        done("fine-tune", "--from", "tickets:1", "--data", "new file.csv", *replay, "--report", "none")
        done("fine-tune", *base, "--name", "refit", *QUICK)
        done("update", "refit:1", "--refit", "old.csv", "--solver", "ridge")
        done("update", "refit:2", "--add", "more.csv")
        done("update", "refit:3", "--erase", "more.csv")
        done("adapt", *base, "--target", "target.csv", "--name", "adapted", "--methods", "coral,mcc", "--seeds", "2",
             "--epochs", "3", "--seed", "5", "--lr", "0.002")  # fmt: skip
        done("distil", "--teacher", "tickets:1", "--student", "little", "--data", "old.csv", "--name", "student",
             "--strategy", "feature-extraction", "--epochs", "4")  # fmt: skip
        done("distil", "--teacher", "tickets:1", "--student", "little", "--data", "target.csv", "--name", "taught",
             "--strategy", "feature-extraction", "--epochs", "4")  # fmt: skip
    return folder


@pytest.fixture(autouse=True)
def inside(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTOCK_HOME", str(home / "home"))
    monkeypatch.chdir(home)


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, list(arguments))
    if result.exception is not None and not isinstance(result.exception, HeadstockError | SystemExit):
        raise result.exception
    return result


def done(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, (arguments, result.output, result.exception)
    return result.stdout


def page(name: str) -> str:
    """Both forms of the report; the HTML one must name all that the Markdown one does."""
    text = done("report", name)
    html = done("report", name, "--format", "html")
    for title in re.findall(r"^## (.*)$", text, re.MULTILINE):
        assert f"<h2>{title}</h2>" in html
    return text


def printed_command(text: str) -> list[str]:
    import shlex

    found = re.findall(r"^headstock (fine-tune|adapt|update)( .*)$", text, re.MULTILINE)
    assert len(found) == 1, text
    return [found[0][0], *shlex.split(found[0][1])]


def digests(record: dict[str, Any]) -> tuple[str, str]:
    """Head and subject of the version that a command says it made."""
    with Catalogue.open() as catalogue:
        version = next(v for v in catalogue.versions(record["name"]) if v.number == record["number"])
    return str(version.details["head"]), str(version.subject)


# ------------------------------------------------------------------------------------------------ the command
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("where", ["report", "card"])
def test_the_printed_command_makes_the_same_model_again(name: str, where: str) -> None:
    with Catalogue.open() as catalogue:
        model, _, number = name.partition(":")
        version = next(v for v in catalogue.versions(model) if v.number == int(number or 1))
    command = printed_command(done(where, name))
    if command[0] != "update":
        command[command.index("--name") + 1] += f"-{where}"
    assert digests(json.loads(done(*command, "--format", "json"))) == (version.details["head"], version.subject)


# ------------------------------------------------------------------------------------------------ sections
def test_a_continued_model_tells_gain_and_forgetting_in_words() -> None:
    text = page("tickets:2")
    assert "## Gain over the parent on the new rows" in text
    assert "Went on from tickets:1." in text
    assert "24 rows of its data were trained on again." in text
    assert re.search(r"\| 12 \| \d\.\d{3} \| \d\.\d{3} \| [+-]\d\.\d{3} \[", text.split("## Forgetting")[1])


@pytest.mark.parametrize("number", [2, 3, 4])
def test_an_updated_model_tells_what_was_done_and_what_it_forgot(number: int) -> None:
    text = page(f"refit:{number}")
    assert "## Update in closed form" in text
    assert re.search(r"\| \d+ \| \d\.\d{3} \| \d\.\d{3} \|", text.split("## Forgetting")[1])
    assert "{'" not in text
    assert "['" not in text


def test_an_adapted_model_tells_verdict_methods_and_label_shift() -> None:
    text = page("adapted")
    section = text.split("## Adaptation")[1]
    assert "Verdict: " in section
    assert "No target label was seen" in section
    assert "Label shift: " in section
    for method in ("source-only", "coral", "mcc"):
        assert f"| {method}" in section


def test_a_student_stands_beside_its_teacher_and_itself_untaught() -> None:
    section = page("student").split("## Distillation")[1]
    for side in ("teacher", "student", "undistilled"):
        assert f"| {side} |" in section
    assert "Learned from tickets:1 at temperature 4" in section


def test_nothing_is_said_to_be_absent_that_such_a_model_never_has() -> None:
    assert "Not in this report" not in page("adapted")
    assert "fine-tune --group-by" not in page("refit:2")


# ------------------------------------------------------------------------------------------------ diff
def test_diff_compares_metrics_where_one_has_no_recipe() -> None:
    found = json.loads(done("diff", "refit:1", "refit:2", "--format", "json"))
    assert (found["recipe"], found["without_recipe"]) == (None, ["refit:2"])
    assert found["metrics"][0]["b"] is not None
    text = done("diff", "refit:1", "refit:2")
    assert text.startswith("settings cannot be compared: refit:2 was made without a recipe")
    assert "accuracy" in text


# ------------------------------------------------------------------------------------------------ later rows
def test_a_row_from_scratch_that_could_stand_nowhere_is_refused_before_anything_is_trained() -> None:
    error = run("report", "tickets:1", "--scratch", "--data", "old.csv").exception
    assert isinstance(error, FailedPrecondition)
    assert "no verdict that a row could stand beside; nothing was trained" in error.message
    with Catalogue.open() as catalogue:
        assert catalogue.versions("tickets-scratch") == []
