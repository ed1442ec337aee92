"""Rows of a table from CSV to answers of a server: the whole row goes in, but for its target and what splits it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from headstock.cli.main import cli
from headstock.errors import HeadstockError
from headstock.settings import Settings
from headstock_client import Client, InvalidRequest
from headstock_server.app import Running, ServeOptions
from headstock_server.engine import EngineOptions
from headstock_server.testing import background_server

pytest.importorskip("headstock_tabular")


def run(home: Path, *arguments: str) -> Result:
    result = CliRunner(env={"HEADSTOCK_HOME": str(home)}).invoke(cli, arguments)
    if result.exception is not None and not isinstance(result.exception, HeadstockError | SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """People by age, town and family; `home` with a backbone pretrained on them and model `group:1`."""
    root, dice = tmp_path_factory.mktemp("table"), random.Random(0)
    lines = ["age,town,family,group"]
    for index in range(120):
        age = dice.randrange(10, 80)
        lines.append(f"{age},{dice.choice(['Rome', 'Oslo', 'Bern'])},f{index // 3},{'old' if age > 45 else 'young'}")
    (root / "people.csv").write_text("\n".join(lines) + "\n")
    home = root / "home"
    told = ["--ignore", "group", "--ignore", "family", "--network", "mlp", "--width", "16", "--layers", "1"]
    assert (
        run(home, "pretrain", str(root / "people.csv"), "--out", str(root / "net"), *told, "--epochs", "2").exit_code
        == 0
    )
    assert run(home, "pull", f"path:{root / 'net'}", "--name", "people").exit_code == 0
    made = grow(root, "--name", "group", "--group-column", "family")
    assert made.exit_code == 0, made.output
    return root


def grow(root: Path, *arguments: str) -> Result:
    base = ["--backbone", "people", "--head", "tabular-classification", "--data", str(root / "people.csv")]
    return run(root / "home", "fine-tune", *base, "--label-column", "group", *arguments)


@pytest.fixture(scope="module")
def server(work: Path) -> Iterator[Running]:
    options = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=256))
    with background_server(Settings.from_environment({"HEADSTOCK_HOME": str(work / "home")}), options) as running:
        yield running


def test_a_table_makes_a_model_above_the_majority_with_families_on_one_side(work: Path) -> None:
    """The label is never part of the row that predicts it."""
    report = json.loads(grow(work, "--name", "again", "--group-column", "family", "--format", "json").stdout)
    assert report["input"] == "row"
    assert report["data"]["columns"] == {"label": "group"}
    assert report["metrics"][0]["low"] > report["majority"]["accuracy"]


def test_a_server_answers_mappings_json_and_files_alike(work: Path, server: Running, tmp_path: Path) -> None:
    """And as `predict` does in this process."""
    row = {"age": 71, "town": "Oslo"}
    (tmp_path / "row.json").write_text(json.dumps(row))
    with Client(server.address) as client:
        assert client.raw_inputs("group") == ("row",)
        answers = client.classify("group", [row, json.dumps(row), tmp_path / "row.json"])
        with pytest.raises(InvalidRequest, match="did you mean 'age'"):
            client.classify("group", [{"agee": 71}])
    assert answers[0] == answers[1] == answers[2]
    assert answers[0].label == "old"
    here = run(work / "home", "predict", "group", json.dumps(row), "--format", "json")
    there = run(work / "home", "predict", "group", json.dumps(row), "--format", "json", "--server", server.address)
    assert json.loads(here.stdout)[0]["label"] == json.loads(there.stdout)[0]["label"] == "old"


def test_a_misspelt_column_of_the_data_stops_the_fine_tune_by_name(work: Path, tmp_path: Path) -> None:
    """It would be a missing value in every row."""
    data = (work / "people.csv").read_text().replace("town,", "twon,", 1)
    (tmp_path / "people.csv").write_text(data)
    base = ["--backbone", "people", "--head", "tabular-classification", "--data", str(tmp_path / "people.csv")]
    result = run(work / "home", "fine-tune", *base, "--label-column", "group", "--name", "odd")
    assert "'twon', which is no column of this table; did you mean 'town'?" in str(result.exception)
    assert "line 2" in str(result.exception)
