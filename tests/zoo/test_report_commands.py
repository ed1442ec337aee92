"""`headstock report`, `diff` and the promotion gate on models that were really trained."""

from __future__ import annotations

import json
import random
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from headstock.catalogue import Catalogue
from headstock.cli.main import cli
from headstock.errors import FailedPrecondition, HeadstockError, InvalidInput, NotFound
from headstock.testing.toy import publish_backbone

SPITEFUL = "<script>alert(1)</script>|x"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue with `fine` (labels follow a word) and `worse` (a head that was barely trained)."""
    folder = tmp_path_factory.mktemp("report")
    dice = random.Random(3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTOCK_HOME", str(folder / "home"))
        patch.chdir(folder)
        with Catalogue.open() as catalogue:
            publish_backbone(catalogue)
        lines = ["text,label,site"]
        for i in range(160):
            label = SPITEFUL if i % 2 else "bad"
            filler = " ".join(f"w{dice.randrange(100)}" for _ in range(1 + i % 7))
            lines.append(f"{filler} {'great' if i % 2 else 'awful'} {i},{label},{'north' if i % 3 else 'south'}")
        Path("t.csv").write_text("\n".join(lines) + "\n")
        base = ["fine-tune", "--backbone", "toy", "--head", "text-classification", "--data", "t.csv"]
        base += ["--text-column", "text", "--label-column", "label"]
        good = [*base, "--name", "fine", "--epochs", "4", "--lr", "0.05", "--group-by", "site", "--report", "full"]
        good += ["--splits", "3"]
        for command in (good, [*base, "--name", "worse", "--epochs", "1", "--lr", "1e-9"]):
            result = CliRunner().invoke(cli, command)
            assert result.exit_code == 0, (result.output, result.exception)
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


# ------------------------------------------------------------------------------------------------ report
def test_json_holds_every_part_of_the_assessment() -> None:
    report = json.loads(run("report", "fine", "--format", "json").stdout)
    names = {score["name"] for score in report["transfer"]["accuracies"]}
    assert names == {"majority class", "TF-IDF + logistic regression", "linear probe", "chosen strategy"}
    assert report["transfer"]["over_probe"]["low"] <= 0 <= report["transfer"]["over_probe"]["high"]
    assert set(report["groups"]["of_model"]["accuracy"]) == {"north", "south"}
    assert [point["per_class"] for point in report["learning_curve"]] == [8, 16, 32, 64]
    assert report["slices"]["by"] == "characters"
    assert report["calibration"]["before"]["value"] >= 0
    assert report["peak_memory_bytes"] > 10_000_000


def test_other_splits_give_every_cheap_model_an_interval_and_the_page_says_which_is_which() -> None:
    transfer = json.loads(run("report", "fine", "--format", "json").stdout)["transfer"]
    found = transfer["over_splits"]
    assert (found["splits"], found["figure"], found["gain"]["against"]) == (3, "accuracy", transfer["against"])
    names = {row["name"] for row in found["rows"]}
    assert names == {"majority class", "TF-IDF + logistic regression", "linear probe", "chosen strategy"}
    for row in (*found["rows"], found["gain"]):
        assert len(row["values"]) == 3
        assert row["low"] <= row["value"] <= row["high"]
        assert row["value"] == pytest.approx(sum(row["values"]) / 3)
    text = run("report", "fine").stdout
    assert "are over the 32 validation rows (wilson, 95 %) of one split and one seed" in text
    assert "## Over 3 other splits and seeds" in text
    assert "headstock fine-tune --splits N does" in run("report", "worse").stdout


def test_a_verdict_of_one_split_says_so_and_how_wide_its_interval_is_wherever_it_is_written() -> None:
    """On the command line, in JSON, in the catalogue, on the card and on both pages."""
    base = ["fine-tune", "--backbone", "toy", "--head", "text-classification", "--data", "t.csv", "--name", "once"]
    base += ["--text-column", "text", "--label-column", "label"]
    printed = run(*base, "--epochs", "1", "--lr", "0.05").stdout
    report = json.loads(run("report", "once", "--format", "json").stdout)
    interval, transfer = report["transfer"]["interval"], report["transfer"]
    assert interval["width"] == pytest.approx(transfer["high"] - transfer["low"])
    assert (interval["over"], interval["rows"]) == ("validation rows", report["data"]["validation"])
    assert (interval["splits"], interval["seeds"], transfer["over_splits"]) == (1, 1, None)
    width = f"{interval['width']:.3f} wide"
    assert f"the interval is {width}, over the 32 validation rows of one split and one seed; --splits N tr" in printed
    for words in (run("report", "once"), run("report", "once", "--format", "html"), run("card", "once")):
        assert f"{width}. It and those in the table are over the 32 validation rows" in words.stdout
        assert "of one split and one seed" in words.stdout
    with Catalogue.open() as catalogue:
        assert catalogue.newest("once").details["transfer"]["splits"] == 1
    again = run(*base, "--epochs", "1", "--lr", "0.06", "--splits", "2").stdout
    assert "of one split and one seed\n" in again
    assert re.search(r"^  splits     [+-]\d\.\d{3} \[.*\] over 2 other splits and seeds$", again, re.MULTILINE)


def test_an_interval_over_splits_is_wider_than_that_of_independent_figures() -> None:
    """Nadeau and Bengio (2003): the variance of the mean grows by the share of rows that validates."""
    from headstock.report.splits import _mean

    found = _mean([0.8, 0.9, 0.7], ratio=0.25)
    assert found["value"] == pytest.approx(0.8)
    assert found["high"] - 0.8 == pytest.approx(4.302653 * (0.1**2 * (1 / 3 + 0.25)) ** 0.5, rel=1e-5)
    assert _mean([0.8], ratio=0.25)["low"] is None


def test_splits_without_a_report_are_refused() -> None:
    base = ["fine-tune", "--backbone", "toy", "--head", "text-classification", "--data", "t.csv", "--name", "x"]
    assert isinstance(run(*base, "--splits", "2", "--report", "none").exception, InvalidInput)


class Links(HTMLParser):
    """Collects what a page would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = [name for name, _ in attrs if name in ("src", "href", "onload", "onclick")]
        if tag in ("script", "link", "img", "iframe", "object") or named:
            self.found.append(tag)


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    page = run("report", "fine", "--format", "html").stdout
    links = Links()
    links.feed(page)
    assert links.found == []
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<svg" in page


def test_markdown_is_the_default_and_its_command_makes_the_same_head() -> None:
    text = run("report", "fine").stdout
    assert text.startswith("# fine:1\n")
    assert "<script>" not in text
    command = re.search(r"^headstock (fine-tune .*)$", text, re.MULTILINE)
    assert command is not None
    again = json.loads(run(*command[1].split(), "--format", "json").stdout)
    with Catalogue.open() as catalogue:
        assert again["head"] == catalogue.newest("fine").details["head"]


def test_out_writes_a_page_by_its_suffix(home: Path) -> None:
    assert run("report", "fine:1", "--out", "page.html").stdout == ""
    assert (home / "page.html").read_text().startswith("<!doctype html>")
    assert isinstance(run("report", "fine", "--out", "no/such/folder.html").exception, InvalidInput)


def test_a_backbone_has_no_report() -> None:
    assert isinstance(run("report", "toy").exception, NotFound)


def test_an_unknown_group_column_is_refused_before_training() -> None:
    base = ["fine-tune", "--backbone", "toy", "--head", "text-classification", "--data", "t.csv", "--name", "x"]
    error = run(*base, "--group-by", "sight").exception
    assert isinstance(error, InvalidInput)
    assert "did you mean 'site'?" in error.message


def test_what_cannot_be_trained_from_scratch_is_said_with_its_command() -> None:
    missing = json.loads(run("report", "fine", "--format", "json").stdout)["transfer"]["not_measured"]
    assert missing["from scratch"].startswith("not run: there is no family 'toy'")
    assert missing["from scratch"].endswith("headstock report fine --scratch --data t.csv")


def test_the_price_names_every_way_to_share_and_measures_what_there_is() -> None:
    price = json.loads(run("report", "fine", "--format", "json").stdout)["price"]
    head, lora, private = price["rows"]
    assert [row["kind"] for row in price["rows"]] == ["head only", "LoRA", "private copy"]
    assert head["figure"]["value"] > 0.8
    assert 0 < head["extra_bytes"] == head["first_bytes"] < private["extra_bytes"]
    assert (head["resident"], private["resident"], lora["resident"]) == ("arrays", "measured", None)
    assert head["row_ms"] > 0
    for row in (lora, private):
        assert (row["figure"], row["command"]) == (None, "headstock report fine --price --data t.csv")
    text = run("report", "fine").stdout
    assert "| LoRA | not trained | not trained | not trained | not trained | not trained |" in text


def test_training_for_a_report_needs_the_data() -> None:
    for option in ("--price", "--scratch"):
        error = run("report", "fine", option).exception
        assert isinstance(error, InvalidInput)
        assert error.fix == "--data FILE"


# ------------------------------------------------------------------------------------------------ diff
def test_diff_shows_settings_metrics_and_changed_answers() -> None:
    found = json.loads(run("diff", "fine", "worse", "--format", "json").stdout)
    assert {setting["setting"].split(".")[0] for setting in found["recipe"]} == {"strategy"}
    assert found["metrics"][0]["name"] == "accuracy"
    assert found["answers"]["rows"] == 32
    assert found["answers"]["changed"] > 0
    assert "validation rows are answered differently" in run("diff", "fine", "worse").stdout


def test_diff_of_a_model_with_itself_finds_nothing() -> None:
    text = run("diff", "fine", "fine").stdout
    assert text.startswith("the recipes are the same")
    assert "0 of 32 validation rows" in text


# ------------------------------------------------------------------------------------------------ gate
def test_negative_transfer_stops_promotion_until_it_is_forced_for_a_reason() -> None:
    refused = run("promote", "worse").exception
    assert isinstance(refused, FailedPrecondition)
    assert refused.fix == "headstock promote worse:1 --force --reason TEXT"
    assert isinstance(run("promote", "worse", "--force").exception, InvalidInput)
    assert run("promote", "worse", "--force", "--reason", "for a demo").exit_code == 0
    with Catalogue.open() as catalogue:
        event = next(event for event in catalogue.events() if event.action == "promote")
    assert event.detail["reason"] == "forced past negative transfer: for a demo"
