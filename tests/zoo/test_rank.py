"""`headstock rank`: what it orders, what it shows, what it leaves in the cache, and what it refuses."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from headstock.catalogue import Catalogue
from headstock.cli.rank import command
from headstock.errors import HeadstockError, InvalidInput, Unsupported
from headstock.finetune import Options, fine_tune, plan_recipe, read_table
from headstock.names import Reference
from headstock.plugin_host import open_host
from headstock.testing.toy import publish_backbone


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two backbones, a narrow and a wide one, and `tickets.csv` whose words tell the class."""
    monkeypatch.setenv("HEADSTOCK_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with Catalogue.open() as catalogue:
        publish_backbone(catalogue, "narrow", width=2, seed=1)
        publish_backbone(catalogue, "wide", width=32, seed=2)
    write(tmp_path / "tickets.csv")
    return tmp_path


def write(path: Path, rows: int = 60) -> None:
    dice = random.Random(3)
    words = {"good": ["great", "good", "thanks"], "bad": ["awful", "bad", "broken"]}
    lines = ["message,kind,stars"]
    for i in range(rows):
        kind = "good" if i % 2 else "bad"
        text = f"{dice.choice(words[kind])} w{dice.randrange(100)} {dice.choice(words[kind])} w{dice.randrange(100)}"
        lines.append(f"{text},{kind},{(4 if i % 2 else 1) + dice.random():.3f}")
    path.write_text("\n".join(lines) + "\n")


def run(*arguments: str, head: str = "text-classification") -> Result:
    result = CliRunner().invoke(command, ["--data", "tickets.csv", "--head", head, *arguments])
    if result.exception is not None and not isinstance(result.exception, HeadstockError | SystemExit):
        raise result.exception
    return result


def test_every_fitting_backbone_is_ordered_with_its_scores_regret_cost_and_licence(home: Path) -> None:
    record = json.loads(run("--format", "json").stdout)
    assert [one["name"] for one in record["order"]] == ["wide", "narrow"]
    assert (record["rows"], record["classes"], record["static"]) == (48, 2, "wide")
    for one in record["order"]:
        for figure in (one["quality"], one["regret"]):
            assert figure["low"] <= figure["value"] <= figure["high"]
        assert one["regret"]["low"] >= 0
        assert one["parameters"] > 0
        assert one["row_seconds"] > 0
        assert one["licence"]["verdict"] in ("allow", "unknown", "deny")
    wide, narrow = record["order"]
    assert wide["regret"]["value"] < narrow["regret"]["value"]
    assert wide["best"] > narrow["best"]
    assert (wide["size_rank"], narrow["size_rank"]) == (1, 2)


def test_table_shows_the_static_list_as_the_baseline_and_what_to_type_next(home: Path) -> None:
    lines = run().stdout.splitlines()
    assert lines[0].split()[:3] == ["BACKBONE", "REGRET", "QUALITY"]
    assert lines[1].startswith("wide:1")
    assert any(line.startswith("static list would take wide, expected regret") for line in lines)
    assert lines[-1].startswith("  headstock fine-tune --backbone wide --head text-classification")


def test_quiet_prints_names_in_order_and_backbone_narrows_the_choice(home: Path) -> None:
    assert run("--format", "quiet").stdout == "wide\nnarrow\n"
    assert run("--format", "quiet", "--backbone", "narrow").stdout == "narrow\n"


def test_second_ranking_and_a_fine_tune_find_the_features_in_the_cache(home: Path) -> None:
    first = json.loads(run("--format", "json").stdout)["order"][0]["features"]
    again = json.loads(run("--format", "json").stdout)["order"][0]["features"]
    assert (first["computed"], first["cached"]) == (48, 0)
    assert (again["computed"], again["cached"]) == (0, 48)
    with Catalogue.open() as catalogue:
        table = read_table(Path("tickets.csv"))
        recipe = plan_recipe(catalogue, open_host(), table, Reference("wide"), "text-classification", Options(epochs=1))
        report = fine_tune(catalogue, open_host(), recipe, table, "tickets").report
    assert report["features"]["cached"] == 48
    assert report["features"]["computed"] == 12


def test_regression_is_ordered_by_r2(home: Path) -> None:
    record = json.loads(run("--format", "json", "--target-column", "stars", head="text-regression").stdout)
    assert record["classes"] is None
    wide = next(one for one in record["order"] if one["name"] == "wide")
    assert 0.5 < wide["scores"]["probe"] <= 1
    assert record["order"][0]["name"] == "wide"


def test_same_seed_gives_the_same_ranking(home: Path) -> None:
    def figures() -> list[object]:
        order = json.loads(run("--format", "json", "--rows", "20").stdout)["order"]
        return [(one["name"], one["scores"], one["regret"]) for one in order]

    assert figures() == figures()


def test_may_keeps_what_the_licences_allow(home: Path) -> None:
    # The toy's evidence says CC0-1.0, which allows every purpose.
    assert run("--may", "commercial", "--format", "quiet").stdout == "wide\nnarrow\n"


def test_no_fitting_backbone_says_why(home: Path) -> None:
    with Catalogue.open() as catalogue:
        catalogue.remove("wide")
        catalogue.remove("narrow")
    error = run().exception
    assert isinstance(error, InvalidInput)
    assert error.message == "no backbone fits head type 'text-classification': the catalogue has no backbone"
    assert error.fix is not None
    assert error.fix.startswith("headstock pull")


def test_one_class_and_too_few_rows_are_refused_in_words(home: Path) -> None:
    (home / "tickets.csv").write_text("message,kind\n" + "".join(f"w{i} good,good\n" for i in range(20)))
    assert "one class only" in str(run("--label-column", "kind").exception)
    write(home / "tickets.csv", rows=8)
    error = run().exception
    assert isinstance(error, InvalidInput)
    assert "expected at least 8" in error.message


def test_repeated_inputs_count_once(home: Path) -> None:
    lines = (home / "tickets.csv").read_text().splitlines()
    (home / "tickets.csv").write_text("\n".join([*lines, *lines[1:]]) + "\n")
    record = json.loads(run("--format", "json", "--text-column", "message", "--label-column", "kind").stdout)
    assert record["rows"] <= 50
    assert any("repeat another row's input" in note for note in record["notes"])


def test_head_types_without_one_class_or_number_per_row_are_refused(home: Path) -> None:
    assert isinstance(run(head="text-multi-label").exception, Unsupported)
