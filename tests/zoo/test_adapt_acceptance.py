"""Known transfers between digits, from a table to a promotion: who is published, who is warned of, who is stopped."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from headstock.catalogue import Catalogue
from headstock.cli.main import cli
from headstock.errors import FailedPrecondition, HeadstockError
from headstock.testing.dense import publish_dense

PIXELS = [f"p{i}" for i in range(64)]
BRIEF = ("--seeds", "2", "--epochs", "20")
TABLE = ("--head", "tabular-classification", "--label-column", "digit")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue with `pixels` (the columns as they are) and `zero-to-four` (eight units that know those digits)."""
    from scipy.ndimage import rotate
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    home = tmp_path_factory.mktemp("acceptance")
    images, digits = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32)
    source = MLPClassifier((8,), max_iter=60, random_state=0, learning_rate_init=0.01, n_iter_no_change=60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source.fit(images[digits < 5], digits[digits < 5])
    layer = (source.coefs_[0].astype(np.float32), source.intercepts_[0].astype(np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTOCK_HOME", str(home / "home"))
        with Catalogue.open() as catalogue:
            publish_dense(catalogue, "pixels", PIXELS)
            publish_dense(catalogue, "zero-to-four", PIXELS, layer)
    dice = np.random.default_rng(0)
    order = dice.permutation(len(images))
    labelled, other = order[:900], order[900:]
    target = images[other]
    write(home / "clean.csv", images[labelled], digits[labelled])
    write(home / "contrast.csv", (0.3 * target + 0.6 + dice.normal(0, 0.12, target.shape)).astype(np.float32))
    write(home / "inverted.csv", 1 - target)
    turned = rotate(target.reshape(-1, 8, 8), 25, axes=(2, 1), reshape=False, order=1).reshape(-1, 64)
    write(home / "rotated.csv", turned)
    few = digits[other] < 3
    write(home / "few.csv", (0.3 * target[few] + 0.6 + dice.normal(0, 0.12, target[few].shape)).astype(np.float32))
    write(home / "few-rotated.csv", turned[few])
    write(home / "five-to-nine.csv", images[digits > 4], digits[digits > 4])
    (home / "truth.json").write_text(json.dumps(digits[other].tolist()))
    return home


def write(path: Path, rows: np.ndarray, labels: Sequence[int] | None = None) -> None:
    lines = [",".join(f"{value:.6g}" for value in row) for row in rows]
    if labels is not None:
        lines = [f"{line},d{label}" for line, label in zip(lines, labels, strict=True)]
    path.write_text(",".join(PIXELS + ([] if labels is None else ["digit"])) + "\n" + "\n".join(lines) + "\n")


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTOCK_HOME", str(folder / "home"))
    monkeypatch.chdir(folder)


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, list(arguments))
    if result.exception is not None and not isinstance(result.exception, HeadstockError | SystemExit):
        raise result.exception
    return result


def adapted(target: str, *more: str) -> Mapping[str, Any]:
    result = run(
        "adapt", "--backbone", "pixels", *TABLE, "--data", "clean.csv", "--target", target, "--name",
        Path(target).stem, "--format", "json", *more,
    )  # fmt: skip
    assert result.exit_code == 0, (result.output, result.exception)
    found: Mapping[str, Any] = json.loads(result.stdout)["adaptation"]
    return found


def accuracy(model: str, data: str) -> float:
    """Points of the target's rows that `headstock predict` answers with their digit."""
    rows = [
        json.dumps(dict(zip(PIXELS, map(float, line.split(",")), strict=True)))
        for line in Path(data).read_text().splitlines()[1:]
    ]
    result = run("predict", model, *rows, "--format", "json")
    assert result.exit_code == 0, (result.output, result.exception)
    truth = json.loads(Path("truth.json").read_text())
    answers = [record["label"] for record in json.loads(result.stdout)]
    return 100 * float(np.mean([answer == f"d{digit}" for answer, digit in zip(answers, truth, strict=True)]))


def test_zero_to_four_to_five_to_nine_is_stopped_at_promote() -> None:
    base = ("fine-tune", "--backbone", "zero-to-four", *TABLE, "--data", "five-to-nine.csv", "--validation", "0.5")
    result = run(*base, "--name", "nines", "--format", "json")
    assert result.exit_code == 0, (result.output, result.exception)
    transfer = json.loads(result.stdout)["transfer"]
    assert transfer["verdict"] == "negative"
    refused = run("promote", "nines").exception
    assert isinstance(refused, FailedPrecondition)
    assert transfer["against"] in refused.message
    assert run("promote", "nines", "--force", "--reason", "only to see it").exit_code == 0


@pytest.mark.parametrize("target, method, points", [("contrast", "coral", 30), ("rotated", "mcc", 20)])
def test_the_method_that_fits_the_change_gains_over_a_head_that_saw_the_source_alone(
    target: str, method: str, points: float
) -> None:
    base = ("fine-tune", "--backbone", "pixels", *TABLE, "--data", "clean.csv", "--report", "none")
    assert run(*base, "--name", "unadapted").exit_code == 0
    found = adapted(f"{target}.csv", "--methods", method, *BRIEF)
    assert (found["verdict"], found["chosen"], found["label_shift"]["flagged"]) == ("adapted", method, False)
    assert accuracy(target, f"{target}.csv") - accuracy("unadapted", f"{target}.csv") > points
    assert run("promote", target).exit_code == 0


def test_a_target_that_is_the_source_inverted_is_stopped_at_promote() -> None:
    found = adapted("inverted.csv", "--methods", "coral", *BRIEF)
    assert found["verdict"] == "adaptation failed"
    refused = run("promote", "inverted").exception
    assert isinstance(refused, FailedPrecondition)
    assert "adaptation" in refused.message


@pytest.mark.parametrize("target, flagged", [("few", True), ("few-rotated", True), ("contrast", False)])
def test_as_the_product_comes_a_target_of_three_digits_is_flagged_and_one_of_all_digits_is_not(
    target: str, flagged: bool
) -> None:
    """All methods, with the defaults: whichever is chosen, the flag is about the target and not about it."""
    found = adapted(f"{target}.csv")
    shift = found["label_shift"]
    assert shift["flagged"] is flagged
    assert shift["low"] <= shift["value"] <= shift["high"]
    assert any("label shift" in reason for reason in found["reasons"]) is flagged
    with Catalogue.open() as catalogue:
        assert catalogue.newest(target).details["adaptation"]["label_shift"] is flagged
