"""`headstock fine-tune --from`: a model goes on with new rows, keeps what it was, and says what it forgot."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from headstock.catalogue import Catalogue
from headstock.cli.main import cli
from headstock.errors import FailedPrecondition, HeadstockError, InvalidInput
from headstock.names import Reference
from headstock.predictor import Predictor
from headstock.records import ModelIdentity, Version
from headstock.servable import load_linear, load_model
from headstock.settings import Settings
from headstock.testing.toy import publish_backbone

WORDS = {"good": ["great", "good", "thanks"], "bad": ["awful", "bad", "broken"], "odd": ["maybe", "perhaps"]}


def write(path: Path, kinds: list[str], rows: int, seed: int) -> None:
    dice = random.Random(seed)
    lines = [f"w{dice.randrange(100)} {dice.choice(WORDS[kinds[i % len(kinds)]])} {i},{kinds[i % len(kinds)]}"
             for i in range(rows)]  # fmt: skip
    path.write_text("message,kind\n" + "\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a catalogue in `home`, where `tickets:1` was trained on `old.csv`, and new rows beside it."""
    root = tmp_path_factory.mktemp("from")
    write(root / "old.csv", ["good", "bad"], 60, 1)
    write(root / "same.csv", ["bad", "good"], 30, 2)
    write(root / "wider.csv", ["odd", "good"], 40, 3)
    write(root / "narrow.csv", ["bad"], 20, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTOCK_HOME", str(root / "home"))
        patch.chdir(root)
        with Catalogue.open() as catalogue:
            publish_backbone(catalogue)
        grow = ["--backbone", "toy", "--head", "text-classification", "--name", "tickets", "--data", "old.csv"]
        assert run(*grow, "--epochs", "8", "--lr", "0.05", "--batch-size", "16", "--seed", "5").exit_code == 0
    return root


@pytest.fixture
def home(master: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = Path(shutil.copytree(master, tmp_path / "work"))
    monkeypatch.setenv("HEADSTOCK_HOME", str(root / "home"))
    monkeypatch.chdir(root)
    return root


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, ["fine-tune", "--report", "none", *arguments])
    if result.exception is not None and not isinstance(result.exception, HeadstockError | SystemExit):
        raise result.exception
    return result


def report_of(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.exception
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def go_on(data: str, *arguments: str) -> dict[str, Any]:
    return report_of(run("--from", "tickets:1", "--data", data, "--format", "json", *arguments))


def error_of(result: Result) -> HeadstockError:
    assert isinstance(result.exception, HeadstockError), result.output
    return result.exception


def recipe_of(catalogue: Catalogue, version: Version) -> dict[str, Any]:
    found: dict[str, Any] = catalogue.store.read_json(catalogue.artefact(version.subject).files["recipe"])
    return found


# ------------------------------------------------------------------------------------------------ going on
def test_it_becomes_the_next_version_and_the_parent_stays_what_it_was(home: Path) -> None:
    with Catalogue.open() as catalogue:
        before = catalogue.version(Reference.parse("tickets:1"))
    found = go_on("same.csv")
    assert (found["name"], found["number"]) == ("tickets", 2)
    with Catalogue.open() as catalogue:
        assert catalogue.version(Reference.parse("tickets:1")) == before
        parent = ModelIdentity.from_json(catalogue.artefact(before.subject).identity)
        edges = {(edge.relation, edge.parent) for edge in catalogue.edges(child=found["head"])}
        assert ("finetuned_from", parent.head) in edges
        assert ("head_on", parent.backbone) in edges
        assert not catalogue.verify().problems


def test_another_name_begins_an_entry_of_its_own(home: Path) -> None:
    found = go_on("same.csv", "--name", "june")
    assert (found["name"], found["number"]) == ("june", 1)


def test_it_takes_the_parents_recipe_except_for_what_is_said(home: Path) -> None:
    go_on("same.csv", "--lr", "0.01")
    with Catalogue.open() as catalogue:
        old, new = (recipe_of(catalogue, catalogue.version(Reference.parse(f"tickets:{n}"))) for n in (1, 2))
    assert new["strategy"]["phases"][0]["learning_rate"] == 0.01
    old["strategy"]["phases"][0]["learning_rate"] = 0.01
    assert new["parent"]["name"] == "tickets:1"
    same = set(old) - {"data"}
    assert {key: new[key] for key in same} == {key: old[key] for key in same}
    assert new["data"]["columns"] == old["data"]["columns"]


def test_it_begins_with_the_answers_of_the_parent(home: Path) -> None:
    """At a rate that moves nothing, the child is the parent."""
    go_on("same.csv", "--lr", "1e-12", "--weight-decay", "0", "--epochs", "1")
    with Catalogue.open() as catalogue:
        heads = [load_model(catalogue, catalogue.version(Reference.parse(f"tickets:{n}"))).parameters for n in (1, 2)]
        (old, old_bias), (new, new_bias) = map(load_linear, heads)
    assert not np.array_equal(old, 0 * old)
    np.testing.assert_allclose(new, old, atol=1e-5 * np.abs(old).max())
    np.testing.assert_allclose(new_bias, old_bias, atol=1e-5 * max(1.0, np.abs(old_bias).max()))


def test_new_labels_add_outputs_behind_the_old_ones_and_missing_labels_are_kept(home: Path) -> None:
    found = go_on("wider.csv")
    assert found["labels"] == ["bad", "good", "odd"]
    assert found["continued"]["new_labels"] == ["odd"]
    with Catalogue.open() as catalogue:
        answers = Predictor.open(catalogue, Reference.parse("tickets:2")).predict(["w1 maybe 3", "w2 great 5"])
    assert [label.decode() for label in np.ravel(answers.outputs["label"])] == ["odd", "good"]


def test_new_rows_may_all_be_of_one_class(home: Path) -> None:
    assert go_on("narrow.csv")["labels"] == ["bad", "good"]


def test_the_same_command_gives_the_same_head(home: Path) -> None:
    one = go_on("wider.csv", "--replay", "0.5", "--replay-data", "old.csv", "--name", "one")
    other = go_on("wider.csv", "--replay", "0.5", "--replay-data", "old.csv", "--name", "other")
    assert one["head"] == other["head"]


def test_a_continued_model_goes_on_again(home: Path) -> None:
    go_on("wider.csv")
    found = report_of(run("--from", "tickets:2", "--data", "same.csv", "--format", "json"))
    assert found["labels"] == ["bad", "good", "odd"]
    assert found["continued"]["parent"] == "tickets:2"


# ------------------------------------------------------------------------------------------------ replay, forgetting
def test_what_is_forgotten_is_measured_on_the_rows_that_judged_the_parent(home: Path) -> None:
    found = go_on("wider.csv", "--replay-data", "old.csv")
    lost = found["forgetting"]
    with Catalogue.open() as catalogue:
        parent = catalogue.version(Reference.parse("tickets:1"))
        child = catalogue.version(Reference.parse("tickets:2"))
    assert lost["before"] == next(m["value"] for m in parent.details["metrics"] if m["name"] == "accuracy")
    assert (lost["parent"], lost["rows"]) == ("tickets:1", parent.details["rows_validation"])
    low, high = lost["interval"]
    assert low <= lost["after"] - lost["before"] <= high
    assert child.details["forgetting"] == lost
    assert found["continued"]["replayed"] == 0


def test_replayed_rows_are_trained_on_and_less_is_forgotten(home: Path) -> None:
    """New rows that never say `bad`: without replay the class is lost, with it it is not."""
    more = ("--replay-data", "old.csv", "--epochs", "40")
    without = go_on("wider.csv", *more, "--name", "without")
    replayed = go_on("wider.csv", *more, "--replay", "1.0", "--name", "replayed")
    assert replayed["continued"]["replayed"] == 48
    assert replayed["data"]["train"] == without["data"]["train"] + 48
    assert replayed["data"]["rows"] == without["data"]["rows"] == 40
    assert replayed["forgetting"]["after"] > without["forgetting"]["after"]
    with Catalogue.open() as catalogue:
        relations = [(e.relation, e.note) for e in catalogue.edges(child=replayed["head"])]
    assert ("trained_on", "replay") in relations


def test_the_lines_say_what_was_gained_and_what_was_lost(home: Path) -> None:
    lines = run("--from", "tickets", "--data", "wider.csv", "--replay", "10", "--replay-data", "old.csv").stdout
    assert "  from       tickets:1, new labels: odd, 10 of its rows replayed" in lines
    assert "  new rows   accuracy " in lines
    assert "  old rows   accuracy " in lines


def test_a_recipe_with_replay_repeats_with_the_same_data(home: Path) -> None:
    found = go_on("wider.csv", "--replay", "10", "--replay-data", "old.csv")
    again = ("--recipe", "tickets:2", "--data", "wider.csv", "--name", "again", "--format", "json")
    assert report_of(run(*again, "--replay-data", "old.csv"))["head"] == found["head"]
    assert "not given" in error_of(run(*again)).message


# ------------------------------------------------------------------------------------------------ refused
def test_other_data_to_replay_is_refused_with_both_digests(home: Path) -> None:
    error = error_of(run("--from", "tickets", "--data", "wider.csv", "--replay", "5", "--replay-data", "same.csv"))
    assert isinstance(error, FailedPrecondition)
    with Catalogue.open() as catalogue:
        known = catalogue.version(Reference.parse("tickets:1")).details["data_digest"]
    assert known in error.message
    assert error.message.count("sha256:") == 2


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--head", "embedding"], "has head type 'text-classification'"),
        (["--tap", "tokens"], "has tap 'mean'"),
        (["--strategy", "scratch"], "random weights"),
        (["--replay", "0.5"], "--replay needs the data"),
        (["--replay", "0", "--replay-data", "old.csv"], "neither a share"),
        (["--replay", "49", "--replay-data", "old.csv"], "from 1 to 48"),
        (["--replay", "much", "--replay-data", "old.csv"], "neither a share"),
        (["--recipe", "tickets:1"], "--from and --recipe"),
    ],
)
def test_what_does_not_fit_the_parent_is_refused_before_anything_is_trained(
    home: Path, arguments: list[str], words: str
) -> None:
    assert words in error_of(run("--from", "tickets", "--data", "wider.csv", *arguments)).message


def test_without_a_parent_there_is_nothing_to_replay(home: Path) -> None:
    assert isinstance(error_of(run("--data", "wider.csv", "--replay", "5")), InvalidInput)


# ------------------------------------------------------------------------------------------------ with a backbone
@pytest.fixture
def tiny(tiny_home: Path, master: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADSTOCK_HOME", str(tiny_home))
    monkeypatch.chdir(master)
    return tiny_home


def start(strategy: str, *arguments: str) -> dict[str, Any]:
    quick = ["--epochs", "4", "--backbone-epochs", "3", "--backbone-lr", "0.02", "--lr", "0.02", "--patience", "0"]
    base = ["--backbone", "tiny", "--head", "text-classification", "--data", "old.csv", "--name", "tickets"]
    return report_of(run(*base, *quick, "--strategy", strategy, "--format", "json", *arguments))


def model(number: int) -> ModelIdentity:
    with Catalogue.open(Settings.from_environment(os.environ)) as catalogue:
        version = catalogue.version(Reference("tickets", str(number)))
        return ModelIdentity.from_json(catalogue.artefact(version.subject).identity)


def edges(digest: str) -> set[tuple[str, str]]:
    with Catalogue.open(Settings.from_environment(os.environ)) as catalogue:
        return {(edge.relation, edge.parent) for edge in catalogue.edges(child=digest)}  # type: ignore[arg-type]


def test_a_tuned_backbone_goes_on_from_its_own_weights(tiny: Path) -> None:
    start("full")
    go_on("same.csv")
    parent, child = model(1), model(2)
    assert child.backbone != parent.backbone
    assert ("finetuned_from", parent.backbone) in edges(child.backbone)


def test_how_a_tuned_backbone_was_trained_is_inherited_and_what_is_said_replaces_it(tiny: Path) -> None:
    start("full", "--precision", "bf16")
    go_on("same.csv")
    assert recipe(2)["compute"] == {"device": "cpu", "precision": "bf16", "compiler": "", "processes": 1}
    go_on("same.csv", "--strategy", "feature-extraction")
    assert "compute" not in recipe(3), "nothing of the backbone is trained"


def recipe(number: int) -> dict[str, Any]:
    with Catalogue.open(Settings.from_environment(os.environ)) as catalogue:
        version = catalogue.version(Reference("tickets", str(number)))
        made: dict[str, Any] = catalogue.store.read_json(catalogue.artefact(version.subject).files["recipe"])
        return made


def test_an_adapter_goes_on_and_may_stay_while_the_head_goes_on(tiny: Path) -> None:
    start("lora", "--epochs", "1", "--lr", "0.003", "--backbone-lr", "0.05", "--backbone-epochs", "8")
    parent = model(1)
    if parent.adapter is None:
        pytest.fail("the parent's best epoch was before its adapter moved; raise the rate of this test")
    still = ["--lr", "1e-9", "--backbone-lr", "1e-9", "--weight-decay", "0", "--epochs", "1", "--backbone-epochs", "2"]
    found = go_on("same.csv", "--replay-data", "old.csv", *still)
    assert found["forgetting"]["after"] == found["forgetting"]["before"]
    go_on("wider.csv", "--backbone-lr", "0.05", "--lr", "1e-6", "--epochs", "1")
    child = model(3)
    assert child.backbone == parent.backbone
    assert child.adapter not in (None, parent.adapter)
    assert ("finetuned_from", parent.adapter) in edges(str(child.adapter))
    go_on("same.csv", "--strategy", "feature-extraction")
    assert model(4).adapter == parent.adapter
    assert sum(relation == "trained_on" for relation, _ in edges(parent.adapter)) == 1
    error = error_of(run("--from", "tickets:1", "--data", "same.csv", "--strategy", "full"))
    assert "has an adapter" in error.message


def test_another_backbone_is_refused_and_says_what_differs(tiny: Path) -> None:
    start("feature-extraction")
    with Catalogue.open() as catalogue:
        publish_backbone(catalogue)
    error = error_of(run("--from", "tickets:1", "--data", "same.csv", "--backbone", "toy"))
    assert "has other preprocessing" in error.message
