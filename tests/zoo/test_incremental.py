"""Heads in closed form: adding rows, adding a class and erasing rows equal fitting the resulting rows from scratch."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from headstock.catalogue import Catalogue
from headstock.cli.update import command
from headstock.digest import Digest, digest_bytes
from headstock.errors import Corrupt, FailedPrecondition, HeadstockError, InvalidInput, LicenceRefused
from headstock.finetune import Options, fine_tune, plan_recipe, read_table
from headstock.finetune.incremental.closed_head import ROLE, About, ClosedHead, Part
from headstock.finetune.incremental.solve import Solver
from headstock.names import Reference
from headstock.plugin_host import open_host
from headstock.records import ModelIdentity
from headstock.testing.toy import publish_backbone

LABELS = ("a", "b", "c")


def about(solver: Solver, labels: tuple[str, ...]) -> About:
    return About(solver=solver, penalty=1e-2, seed=0, backbone="toy", labels=labels, columns={})


def part(targets: np.ndarray, first: int = 0) -> Part:
    samples = tuple(digest_bytes(str(first + i).encode()) for i in range(len(targets)))
    return Part(samples, targets.astype(np.float64))


def fitted(solver: Solver, labels: tuple[str, ...], features: np.ndarray, targets: np.ndarray) -> ClosedHead:
    held = np.zeros((2, features.shape[1]), np.float32)
    return ClosedHead.fit(about(solver, labels), part(targets), features, part(np.array([0, 1]), 10_000), held)


def outputs(head: ClosedHead, features: np.ndarray) -> np.ndarray:
    form = head.form()
    answers: np.ndarray = features.astype(np.float64) @ form.weight + form.bias
    return answers


def close(first: ClosedHead, second: ClosedHead, features: np.ndarray) -> bool:
    one, two = outputs(first, features), outputs(second, features)
    return float(np.abs(one - two).max()) <= 1e-5 * max(1.0, float(np.abs(two).max()))


def drawn(seed: int, rows: int, width: int, offset: float) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    targets = np.arange(rows) % 3
    features = generator.standard_normal((rows, width)) + offset + targets[:, None] * generator.standard_normal(width)
    return features.astype(np.float32), targets


CASES = {
    "seed": st.integers(0, 10_000),
    "rows": st.integers(12, 60),
    "width": st.integers(1, 24),
    "offset": st.sampled_from([0.0, 1.0, -20.0]),
    "solver": st.sampled_from(["ridge", "lda"]),
}


# ------------------------------------------------------------------------------------------------ exactness
@settings(max_examples=40, deadline=None)
@given(**CASES)
def test_adding_rows_equals_fitting_all_of_them(
    seed: int, rows: int, width: int, offset: float, solver: Solver
) -> None:
    features, targets = drawn(seed, rows, width, offset)
    half = rows // 2
    grown = fitted(solver, LABELS, features[:half], targets[:half])
    grown = grown.adding(part(targets[half:], half), features[half:], LABELS)
    assert close(grown, fitted(solver, LABELS, features, targets), features)


@settings(max_examples=40, deadline=None)
@given(**CASES)
def test_adding_a_class_equals_fitting_with_it(seed: int, rows: int, width: int, offset: float, solver: Solver) -> None:
    features, targets = drawn(seed, rows, width, offset)
    old = targets < 2
    grown = fitted(solver, LABELS[:2], features[old], targets[old])
    grown = grown.adding(part(targets[~old], 500), features[~old], LABELS)
    order = np.concatenate([np.flatnonzero(old), np.flatnonzero(~old)])
    assert close(grown, fitted(solver, LABELS, features[order], targets[order]), features)


@settings(max_examples=40, deadline=None)
@given(**CASES)
def test_erasing_rows_equals_fitting_the_others(
    seed: int, rows: int, width: int, offset: float, solver: Solver
) -> None:
    features, targets = drawn(seed, rows, width, offset)
    gone = list(range(0, rows, 5))
    kept = [row for row in range(rows) if row not in gone]
    shrunk = fitted(solver, LABELS, features, targets).erasing(gone, features[gone], [])
    assert close(shrunk, fitted(solver, LABELS, features[kept], targets[kept]), features)


def test_erasing_the_last_row_of_a_class_takes_the_class_away() -> None:
    features, targets = drawn(1, 30, 4, 0.0)
    gone = np.flatnonzero(targets == 0).tolist()
    shrunk = fitted("lda", LABELS, features, targets).erasing(gone, features[gone], [])
    rest = targets > 0
    assert shrunk.about.labels == ("b", "c")
    assert len(shrunk.validation.samples) == 1
    assert close(shrunk, fitted("lda", ("b", "c"), features[rest], targets[rest] - 1), features)


def test_lda_is_scikit_learns_without_a_penalty() -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    features, targets = drawn(2, 60, 5, 3.0)
    head = fitted("lda", LABELS, features, targets)
    head = ClosedHead(
        head.about.model_copy(update={"penalty": 0.0}), head.statistics, head.trained, head.validation, head.features
    )
    judge = LinearDiscriminantAnalysis(solver="lsqr").fit(features.astype(np.float64), targets)
    expected = judge.decision_function(features.astype(np.float64))
    found = outputs(head, features)
    assert np.abs((found - found[:, :1]) - (expected - expected[:, :1])).max() < 1e-3


def test_regression_by_ridge_finds_the_line() -> None:
    features = np.random.default_rng(0).standard_normal((50, 2)).astype(np.float32)
    target = features @ np.array([2.0, -1.0]) + 5
    head = ClosedHead.fit(
        about("ridge", ()).model_copy(update={"penalty": 1e-9}),
        part(target),
        features,
        part(target[:2], 900),
        features[:2],
    )
    assert np.abs(outputs(head, features)[:, 0] - target).max() < 1e-4


def test_blob_reads_back_and_anything_else_is_corrupt() -> None:
    features, targets = drawn(3, 30, 4, 0.0)
    head = fitted("lda", LABELS, features, targets)
    data = head.to_bytes()
    again = ClosedHead.from_bytes(data)
    assert again.to_bytes() == data
    assert again.trained.samples == head.trained.samples
    with pytest.raises(Corrupt):
        ClosedHead.from_bytes(b"\x10" + b"\0" * 30)


# ------------------------------------------------------------------------------------------------ the command
@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model `tickets:1` trained by gradient steps on `tickets.csv`."""
    monkeypatch.setenv("HEADSTOCK_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "tickets.csv", ["good", "bad"], 60, seed=1)
    with Catalogue.open() as catalogue:
        publish_backbone(catalogue)
        table = read_table(Path("tickets.csv"))
        recipe = plan_recipe(catalogue, open_host(), table, Reference("toy"), "text-classification", Options(epochs=2))
        fine_tune(catalogue, open_host(), recipe, table, "tickets")
    return tmp_path


WORDS = {"good": ["great", "good", "thanks"], "bad": ["awful", "bad", "broken"], "billing": ["invoice", "refund"]}


def write(path: Path, kinds: list[str], rows: int, seed: int) -> None:
    dice = random.Random(seed)
    lines = ["message,kind"]
    for i in range(rows):
        kind = kinds[i % len(kinds)]
        lines.append(f"{dice.choice(WORDS[kind])} w{dice.randrange(100)} {dice.choice(WORDS[kind])} {seed}-{i},{kind}")
    path.write_text("\n".join(lines) + "\n")


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(command, list(arguments))
    if result.exception is not None and not isinstance(result.exception, HeadstockError | SystemExit):
        raise result.exception
    return result


def record(*arguments: str) -> dict[str, object]:
    result = run(*arguments, "--format", "json")
    assert result.exception is None, result.exception
    found: dict[str, object] = json.loads(result.stdout)
    return found


def closed(number: int) -> tuple[ClosedHead, Digest]:
    with Catalogue.open() as catalogue:
        version = catalogue.version(Reference.parse(f"tickets:{number}"))
        head = ModelIdentity.from_json(catalogue.artefact(version.subject).identity).head
        return ClosedHead.from_bytes(catalogue.store.read_bytes(catalogue.artefact(head).files[ROLE])), head


def test_a_trained_head_is_refused_and_told_to_refit(home: Path) -> None:
    error = run("tickets", "--add", "tickets.csv").exception
    assert isinstance(error, FailedPrecondition)
    assert error.fix is not None
    assert "headstock update tickets:1 --refit" in error.fix


def test_refit_add_and_erase_make_versions_with_lineage_and_tell_what_was_forgotten(home: Path) -> None:
    refitted = record("tickets", "--refit", "tickets.csv")
    assert refitted["number"] == 2
    write(home / "june.csv", ["billing"], 10, seed=2)
    added = record("tickets:2", "--add", "june.csv")
    assert (added["number"], added["labels"]) == (3, ["bad", "good", "billing"])
    forgetting = added["forgetting"]
    assert isinstance(forgetting, dict)
    assert (forgetting["metric"], forgetting["rows"], forgetting["parent"]) == ("accuracy", 12, "tickets:2")
    assert forgetting["difference"] == pytest.approx(forgetting["after"] - forgetting["before"])
    low, high = forgetting["interval"]
    assert low <= forgetting["difference"] <= high
    erased = record("tickets:3", "--erase", "june.csv")
    assert erased["labels"] == ["bad", "good"]
    (second, old), (third, new), (fourth, _) = closed(2), closed(3), closed(4)
    assert np.abs(second.form().weight - fourth.form().weight).max() <= 1e-5
    assert len(third.trained.samples) == len(second.trained.samples) + 10
    with Catalogue.open() as catalogue:
        assert (new, "finetuned_from", old) in {(e.child, e.relation, e.parent) for e in catalogue.edges(child=new)}
        assert catalogue.verify().clean


def test_an_update_of_a_model_that_transfer_made_worse_is_stopped_at_promote_too(home: Path) -> None:
    """Neither act measures transfer, so none can undo the verdict; a version further down names whose it is."""
    from headstock.cli.main import cli

    base = ["fine-tune", "--backbone", "toy", "--head", "text-classification", "--data", "tickets.csv"]
    barely = CliRunner().invoke(cli, [*base, "--name", "worse", "--epochs", "1", "--lr", "1e-9"])
    assert barely.exit_code == 0, barely.exception
    record("worse:1", "--refit", "tickets.csv")
    write(home / "june.csv", ["good"], 6, seed=4)
    record("worse:2", "--add", "june.csv")
    with Catalogue.open() as catalogue:
        details = [catalogue.version(Reference.parse(f"worse:{n}")).details for n in (1, 2, 3)]
    assert details[0]["transfer"]["verdict"] == "negative"
    for number in (2, 3):
        assert details[number - 1]["transfer"] == details[0]["transfer"]
        assert details[number - 1]["verdict_of"] == "worse:1"
        refused = CliRunner().invoke(cli, ["promote", f"worse:{number}"]).exception
        assert isinstance(refused, FailedPrecondition)
        assert "negative transfer" in refused.message
    assert "that of worse:1 holds: negative" in CliRunner().invoke(cli, ["report", "worse:3"]).stdout


def test_rows_to_learn_from_bring_their_licence_and_the_policy_is_asked_first(home: Path) -> None:
    record("tickets", "--refit", "tickets.csv")
    write(home / "june.csv", ["good"], 6, seed=4)
    (home / "home" / "policy.toml").write_text(
        '[context]\npurpose = "commercial"\naudience = "public"\n[stances]\ntraining_data = "inherit-nc"\n'
    )
    refused = run("tickets:2", "--add", "june.csv", "--data-licence", "CC-BY-NC-4.0").exception
    assert isinstance(refused, LicenceRefused)
    with Catalogue.open() as catalogue:
        assert len(catalogue.versions("tickets")) == 2
    added = record("tickets:2", "--add", "june.csv", "--data-licence", "CC0-1.0")
    data = added["data"]
    assert isinstance(data, dict)
    with Catalogue.open() as catalogue:
        head = ModelIdentity.from_json(catalogue.artefact(catalogue.newest("tickets").subject).identity).head
        trained = [edge.parent for edge in catalogue.edges(child=head) if edge.relation == "trained_on"]
        said = {e.value for one in trained for e in catalogue.evidence(one) if e.field == "licence"}
    assert "CC0-1.0" in said
    # Taking rows out is never refused, and nobody learns from them.
    assert record("tickets:3", "--erase", "june.csv")["number"] == 4
    assert isinstance(run("tickets", "--erase", "june.csv", "--data-licence", "MIT").exception, InvalidInput)


def test_an_updated_model_answers_with_its_new_class(home: Path) -> None:
    record("tickets", "--refit", "tickets.csv")
    write(home / "june.csv", ["billing"], 10, seed=2)
    record("tickets", "--add", "june.csv")
    from headstock.cli.main import cli

    answer = CliRunner().invoke(cli, ["predict", "tickets:3", "invoice w7 refund"])
    assert answer.exit_code == 0, answer.exception
    assert "billing" in answer.stdout


def test_rows_that_validate_are_not_trained_on_and_unknown_rows_are_not_erased(home: Path) -> None:
    record("tickets", "--refit", "tickets.csv")
    mixed = (home / "tickets.csv").read_text() + "great w7 good,good\n"
    (home / "mixed.csv").write_text(mixed)
    result = run("tickets", "--add", "mixed.csv")
    assert "12 rows have an input that validates the model and were left out" in result.stderr
    write(home / "strange.csv", ["good"], 3, seed=9)
    error = run("tickets", "--erase", "strange.csv").exception
    assert isinstance(error, InvalidInput)
    assert "no row of tickets:3 has this input" in error.message


def test_rows_that_change_no_weight_are_refused_rather_than_lost(home: Path) -> None:
    record("tickets", "--refit", "tickets.csv")
    # All training rows once more: every mean and covariance stays.
    error = run("tickets", "--add", "tickets.csv").exception
    assert isinstance(error, FailedPrecondition)
    assert "change no weight" in error.message


def test_erasing_everything_is_refused(home: Path) -> None:
    record("tickets", "--refit", "tickets.csv")
    assert "this would leave" in str(run("tickets", "--erase", "tickets.csv").exception)


def test_exactly_one_act_is_asked_for(home: Path) -> None:
    assert isinstance(run("tickets").exception, InvalidInput)
    assert isinstance(run("tickets", "--add", "a.csv", "--erase", "b.csv").exception, InvalidInput)
