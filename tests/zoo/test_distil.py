"""`headstock distil`: a small student learns what a larger teacher knows, and says by how much and by what truth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from headstock.catalogue import Catalogue
from headstock.cli.distil import command
from headstock.cli.main import cli
from headstock.errors import HeadstockError, InvalidInput, Unsupported
from headstock.finetune.lesson import Lesson
from headstock.names import Reference
from headstock.servable import load_model
from headstock.testing.dense import publish_dense

PIXELS = [f"p{i}" for i in range(64)]
LABELLED = 60
QUICK = ("--strategy", "feature-extraction", "--epochs", "30", "--lr", "0.02")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`wide` (256 random units of pixels) with the model `teacher` on it, and the backbone `narrow` (24 units)."""
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("distil")
    pixels, digits = load_digits(return_X_y=True)
    pixels, random = (pixels / 16).astype(np.float32), np.random.default_rng(0)
    order = random.permutation(len(digits))
    upstream, rows = order[:900], order[900:1500]
    write(folder / "upstream.csv", pixels[upstream], digits[upstream].tolist())
    some = [digit if place < LABELLED else None for place, digit in enumerate(digits[rows].tolist())]
    write(folder / "some.csv", pixels[rows], some)
    write(folder / "none.csv", pixels[rows], [None] * len(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTOCK_HOME", str(folder / "home"))
        patch.chdir(folder)
        with Catalogue.open() as catalogue:
            for name, width in (("wide", 256), ("narrow", 24)):
                layer = random.standard_normal((64, width)).astype(np.float32) / 4
                publish_dense(catalogue, name, PIXELS, (layer, np.zeros(width, np.float32)))
        taught = run("fine-tune", "--backbone", "wide", "--head", "tabular-classification", "--data", "upstream.csv",
                     "--name", "teacher", *QUICK[2:], "--report", "none")  # fmt: skip
        assert taught.exit_code == 0, (taught.output, taught.exception)
    return folder


def write(path: Path, pixels: np.ndarray, labels: Sequence[int | None]) -> None:
    lines = [",".join(PIXELS) + ",label"]
    for row, label in zip(pixels, labels, strict=True):
        lines.append(",".join(f"{value:.4g}" for value in row) + "," + ("" if label is None else f"d{label}"))
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(autouse=True)
def inside(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTOCK_HOME", str(home / "home"))
    monkeypatch.chdir(home)


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, list(arguments))
    if result.exception is not None and not isinstance(result.exception, HeadstockError | SystemExit):
        raise result.exception
    return result


def distil(data: str, name: str, *more: str, student: str = "narrow") -> Result:
    return run("distil", "--teacher", "teacher", "--student", student, "--data", data, "--name", name, *QUICK, *more)


def report_of(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, (result.output, result.exception)
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture(scope="module")
def student(home: Path) -> dict[str, Any]:
    """The report of a student with 60 labelled rows of 600."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTOCK_HOME", str(home / "home"))
        patch.chdir(home)
        return report_of(distil("some.csv", "student", "--format", "json"))


# ------------------------------------------------------------------------------------------------ what it gains
def test_with_few_labels_the_taught_student_beats_the_same_student_untaught(student: dict[str, Any]) -> None:
    found = student["distillation"]
    assert (found["labelled"], found["unlabelled"]) == (LABELLED, 600 - LABELLED)
    assert found["accuracy"]["student"]["value"] > found["accuracy"]["undistilled"]["value"]
    gain = found["against_undistilled"]
    assert gain["value"] == pytest.approx(
        found["accuracy"]["student"]["value"] - found["accuracy"]["undistilled"]["value"]
    )
    assert gain["low"] <= gain["value"] <= gain["high"]


def test_only_rows_with_a_label_of_their_own_judge(student: dict[str, Any]) -> None:
    found = student["distillation"]
    assert found["truth"] == student["truth"] == "labels"
    assert found["rows"] == student["data"]["validation"] < LABELLED
    assert student["data"]["train"] + student["data"]["validation"] + student["data"]["unused"] == 600


def test_models_that_learn_from_the_target_alone_see_no_answer_of_the_teacher(student: dict[str, Any]) -> None:
    transfer = student["transfer"]
    assert transfer["training_rows"] == transfer["baseline_rows"] == LABELLED - student["data"]["validation"]
    assert transfer["training_rows"] < student["data"]["train"]


def test_the_student_is_smaller_and_its_size_and_time_stand_beside_the_teachers(student: dict[str, Any]) -> None:
    cost = student["distillation"]["cost"]
    with Catalogue.open() as catalogue:
        sizes = [
            load_model(catalogue, catalogue.version(Reference(name))).backbone.graph.stat().st_size
            for name in ("teacher", "student")
        ]
    assert [cost["teacher_bytes"], cost["student_bytes"]] == sizes
    assert cost["size_ratio"] == sizes[1] / sizes[0] < 0.5
    assert cost["student_seconds_per_row"] > 0


def test_lineage_leads_to_the_teacher(student: dict[str, Any]) -> None:
    with Catalogue.open() as catalogue:
        teacher = catalogue.version(Reference("teacher"))
        edges = {(edge.relation, edge.parent) for edge in catalogue.edges(child=student["head"])}
        details = catalogue.version(Reference("student")).details
    assert ("distilled_from", teacher.subject) in edges
    assert details["distilled_from"] == "teacher:1"


def test_the_same_command_gives_the_same_head(student: dict[str, Any]) -> None:
    assert report_of(distil("some.csv", "again", "--format", "json"))["head"] == student["head"]


# ------------------------------------------------------------------------------------------------ without any label
def test_without_labels_there_is_no_verdict_and_the_figures_say_what_they_are(home: Path) -> None:
    """The teacher's own answers prove nothing about transfer: figures against them are agreement."""
    found = report_of(distil("none.csv", "unlabelled", "--format", "json"))
    assert found["transfer"] is None
    assert "label of its own" in found["transfer_missing"]["verdict"]
    assert found["truth"] == "answers of teacher:1"
    assert found["distillation"]["accuracy"]["teacher"]["value"] == 1.0
    assert "against_undistilled" not in found["distillation"]
    with Catalogue.open() as catalogue:
        assert catalogue.version(Reference("unlabelled")).details["truth"] == "answers of teacher:1"
    assert "agreement with the answers of teacher:1" in run("report", "unlabelled").stdout


def test_the_lines_tell_all_three_models(home: Path, student: dict[str, Any]) -> None:
    lines = distil("some.csv", "lines").stdout
    for word in ("teacher", "student", "undistilled", "against labels alone", "of the teacher's size"):
        assert word in lines


# ------------------------------------------------------------------------------------------------ refused
def test_a_student_that_is_no_smaller_is_refused_unless_any_size_is_said(home: Path) -> None:
    refused = distil("some.csv", "large", student="wide").exception
    assert isinstance(refused, InvalidInput)
    assert "smaller" in refused.message
    assert refused.fix is not None
    assert "--any-size" in refused.fix
    same = report_of(distil("some.csv", "large", "--any-size", "--epochs", "2", "--format", "json", student="wide"))
    assert same["distillation"]["cost"]["size_ratio"] == 1.0


@pytest.mark.parametrize(
    "arguments, words, fix",
    [
        (["--temperature", "0"], "--temperature 0.0", "--temperature 4"),
        (["--temperature", "inf"], "--temperature inf", "--temperature 4"),
        (["--alpha", "1.5"], "--alpha 1.5", "--alpha 0.7"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_type(
    home: Path, arguments: list[str], words: str, fix: str
) -> None:
    error = distil("some.csv", "refused", *arguments).exception
    assert isinstance(error, InvalidInput)
    assert words in error.message
    assert error.fix == fix


def test_there_is_no_option_for_what_teacher_and_student_decide() -> None:
    """The help shows only what may be given, with the strategy that is used unless another is."""
    options = {name: option for option in command.params for name in option.opts}
    assert not {"--backbone", "--head"} & set(options)
    assert options["--strategy"].default == "lp-ft"


def test_a_backbone_cannot_teach(home: Path) -> None:
    error = run("distil", "--teacher", "wide", "--student", "narrow", "--data", "some.csv", "--name", "x").exception
    assert isinstance(error, HeadstockError)
    assert not isinstance(error, Unsupported) or "teach" in error.message


# ------------------------------------------------------------------------------------------------ the loss
def test_the_loss_is_the_share_of_hinton_et_al() -> None:
    """`alpha T^2 KL` of a labelled row and an unlabelled one, and the cross-entropy of the labelled one alone."""
    import torch

    from headstock.finetune.recipe import TeacherChoice
    from headstock.hookspecs import Batch

    teacher = np.array([[2.0, 0.0], [0.0, 1.0]], np.float32)
    choice = TeacherChoice(name="t:1", digest="sha256:" + "0" * 64, temperature=2.0, alpha=0.25)
    lesson = Lesson(None, choice, teacher, np.array([True, False]))  # type: ignore[arg-type] - no model is asked
    student = torch.tensor([[0.5, -0.5], [1.0, 0.0]])
    batch = Batch(student, torch.tensor([1, 0]))
    found = float(lesson.taught([0, 1])(torch.nn.Identity(), batch, [0, 1], 0.0))

    def softmax(row: Any) -> Any:
        powers = np.exp(np.asarray(row, np.float64))
        return powers / powers.sum()

    apart = [
        float((p * (np.log(p) - np.log(q))).sum())
        for p, q in ((softmax(t / 2), softmax(s / 2)) for t, s in zip(teacher, student.numpy(), strict=True))
    ]
    wrong = -float(np.log(softmax(student.numpy()[0])[1]))
    assert found == pytest.approx((0.25 * 4 * sum(apart) + 0.75 * wrong) / 2, rel=1e-5)
