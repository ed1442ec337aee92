"""`headstock data check`: what it counts, what it calls wrong, where, and how it ends."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from headstock.catalogue import Catalogue
from headstock.cli.main import cli
from headstock.errors import HeadstockError
from headstock.preprocess.audio_samples import encode, voice
from headstock.settings import Settings
from headstock.testing.toy import publish_backbone

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(data: Path, head: str, *arguments: str) -> Result:
    result = CliRunner().invoke(cli, ["data", "check", str(data), "--head", head, *arguments])
    if result.exception is not None and not isinstance(result.exception, HeadstockError | SystemExit):
        raise result.exception
    return result


def report(data: Path, head: str, *arguments: str) -> dict[str, Any]:
    result = run(data, head, *arguments, "--format", "json")
    found: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == (0 if found["verdict"] == "ok" else 1)
    return found


def messages(found: dict[str, Any], severity: str) -> list[str]:
    return [f["message"] for f in found["findings"] if f["severity"] == severity]


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def rows(count: int) -> list[str]:
    return [f"what is the matter with number {i},{'ham' if i % 2 else 'spam'}" for i in range(count)]


# ------------------------------------------------------------------------------------------------ good data
def test_good_data_is_counted_and_ends_with_0() -> None:
    found = report(EXAMPLES / "tickets.csv", "text-classification")
    assert found["verdict"] == "ok"
    assert (found["rows"], found["usable"]) == (320, 320)
    assert set(found["classes"].values()) == {40}
    assert found["imbalance"] == 1.0
    assert found["inputs"]["characters"]["min"] > 0
    assert found["split"] == {"train": 256, "validation": 64, "unused": 0}


def test_the_table_says_in_one_line_whether_it_can_train() -> None:
    lines = run(EXAMPLES / "tickets.csv", "text-classification").stdout.splitlines()
    assert lines[0] == "tickets.csv for text-classification: ready to train"
    assert lines[1] == "  columns    text from 'text', label from 'intent'"
    assert run(EXAMPLES / "tickets.csv", "text-classification", "--format", "quiet").stdout == "ok\n"


def test_rare_and_few_are_worth_a_word_and_stop_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", "text,label", *rows(60), "one of a rare kind,rare", "two of a rare kind,rare")
    found = report(path, "text-classification")
    assert found["verdict"] == "ok"
    notes = " ".join(messages(found, "note"))
    assert "15 rows for each of the rarest" in notes
    assert "'rare' (2)" in notes


# ------------------------------------------------------------------------------------------------ what stops
def test_every_line_that_cannot_be_used_is_told_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", "text,label", *rows(10), "no label here,", "only one field", ",spam")
    found = report(path, "text-classification")
    assert found["verdict"] == "stops"
    assert (found["rows"], found["usable"]) == (13, 10)
    stops = messages(found, "stops")
    assert "1 line makes no row: line 13: 1 fields where the header has 2" in stops
    assert "line 12: the label is empty" in stops
    assert "line 14: the text is empty" in stops


@pytest.mark.parametrize(
    "lines, said",
    [
        (["only one,a", "class here,a"], "one class only, 'a'"),
        ([*rows(8), "alone in its class,single"], "class 'single' of 'd.csv' has 1 row (line 10)"),
    ],
)
def test_what_a_fine_tune_would_refuse_is_told_in_its_words(tmp_path: Path, lines: list[str], said: str) -> None:
    found = report(write(tmp_path / "d.csv", "text,label", *lines), "text-classification")
    assert found["verdict"] == "stops"
    assert any(said in message for message in messages(found, "stops"))


def test_a_file_or_column_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    absent = run(tmp_path / "absent.csv", "text-classification")
    assert isinstance(absent.exception, HeadstockError)
    wrong = run(EXAMPLES / "tickets.csv", "text-classification", "--label-column", "intend")
    assert isinstance(wrong.exception, HeadstockError)
    assert wrong.exception.fix == "--label-column intent"
    typed = run(EXAMPLES / "tickets.csv", "text-classification", "--group-column", "inten")
    assert "no column 'inten'" in str(typed.exception)


# ------------------------------------------------------------------------------------------------ what falsifies
def test_rows_that_contradict_each_other_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", "text,label", *rows(10), "So be it,ham", "so  be IT,spam")
    found = report(path, "text-classification")
    assert found["verdict"] == "falsifies"
    assert "2 rows contradict each other" in messages(found, "falsifies")[0]
    assert "lines 12, 13" in messages(found, "falsifies")[0]


def test_copies_in_another_spelling_on_the_other_side_are_told(tmp_path: Path) -> None:
    body = [f"{line},train" for line in rows(8)]
    path = write(
        tmp_path / "d.csv", "text,label,part", *body,
        "WHAT is the matter  with number 0,spam,validation",
        "what is the matter with number 1,ham,validation",
        "something else,ham,validation",
    )  # fmt: skip
    found = report(path, "text-classification", "--split-column", "part")
    assert found["verdict"] == "falsifies"
    assert "1 validation row holds the same as training rows" in messages(found, "falsifies")[0]
    assert "line 10" in messages(found, "falsifies")[0]
    assert "1 validation row is a copy of training rows" in messages(found, "note")[0]


def test_groups_and_times_on_the_wrong_side_are_told(tmp_path: Path) -> None:
    body = [f"{line},p{i},train,2026-01-{i + 10}" for i, line in enumerate(rows(8))]
    path = write(
        tmp_path / "d.csv", "text,label,patient,part,day", *body, "one more,ham,p3,test,2026-01-01",
        "and another,spam,p9,test,2026-02-01",
    )  # fmt: skip
    by_part = ["--split-column", "part"]
    found = report(path, "text-classification", *by_part, "--group-column", "patient", "--time-column", "day")
    said = messages(found, "falsifies")
    assert "1 group of column 'patient' on both sides, e.g. 'p3': line 10" in said
    assert "1 validation row is older than the newest training row by column 'day': line 10" in said
    assert report(path, "text-classification", "--group-column", "patient")["verdict"] == "ok"


# ------------------------------------------------------------------------------------------------ other inputs
def picture(shade: int, size: tuple[int, int] = (12, 8), kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("L", size, shade).save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return file.getvalue()


def pictures(root: Path) -> Path:
    for index in range(12):
        path = root / ("light" if index > 5 else "dark") / f"{index:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(20 * index, (12 + index, 8)))
    return root


def test_images_are_measured_and_those_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    root = pictures(tmp_path / "shades")
    whole = picture(7, (64, 64))
    (root / "dark" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "dark" / "empty.png").write_bytes(b"")
    (root / "light" / "text.jpg").write_bytes(b"hello")
    found = report(root, "image-classification")
    assert found["inputs"]["width in pixels"] == {"min": 12, "median": 17, "p95": 23, "max": 23}
    assert found["kinds"] == {"PNG L": 12}
    assert (found["rows"], found["usable"]) == (15, 12)
    assert set(messages(found, "stops")) == {
        "file 'dark/cut.png': truncated or damaged",
        "file 'dark/empty.png': the file is empty",
        "file 'light/text.jpg': no JPEG, PNG or WebP",
    }


def test_one_picture_in_two_encodings_is_one(tmp_path: Path) -> None:
    root = pictures(tmp_path / "shades")
    (root / "light" / "00.webp").write_bytes(picture(0, (12, 8), "WEBP"))
    found = report(root, "image-classification")
    assert found["verdict"] == "falsifies"
    assert "files 'dark/00.png', 'light/00.webp'" in messages(found, "falsifies")[0]


def test_paths_that_lead_nowhere_or_out_are_told_by_line(tmp_path: Path) -> None:
    pictures(tmp_path)
    good = [f"{p.relative_to(tmp_path)},{p.parent.name}" for p in sorted(tmp_path.glob("*/*.png"))]
    path = write(tmp_path / "d.csv", "image,label", *good, "gone.png,dark", "../../etc/hostname,dark")
    found = report(path, "image-classification")
    assert found["usable"] == 12
    assert set(messages(found, "stops")) == {
        "line 14: the file is not there",
        "line 15: the file leads out of the data's folder",
    }


def test_recordings_are_measured_in_seconds(tmp_path: Path) -> None:
    for index in range(8):
        path = tmp_path / "clips" / ("a" if index % 2 else "b") / f"{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(voice(0.1 + 0.05 * index, index)))
    broken = (tmp_path / "clips" / "a" / "1.wav").read_bytes()
    (tmp_path / "clips" / "a" / "broken.wav").write_bytes(broken[:100])
    found = report(tmp_path / "clips", "audio-classification")
    assert found["inputs"]["seconds"]["min"] == pytest.approx(0.1, abs=0.001)
    assert found["kinds"] == {"WAV 16000 Hz, 1 channel": 8}
    assert messages(found, "stops")[0].startswith("file 'a/broken.wav': is cut off")


def test_spans_are_counted_by_type_and_held_against_their_text(tmp_path: Path) -> None:
    lines = [
        json.dumps({"text": f"Ada met Bob {i}", "spans": [{"start": 0, "end": 3, "label": "PER"}]}) for i in range(6)
    ]
    lines.append(json.dumps({"text": "short", "spans": [{"start": 2, "end": 40, "label": "LOC"}]}))
    found = report(write(tmp_path / "d.jsonl", *lines), "token-classification")
    assert found["classes"] == {"PER": 6}
    assert messages(found, "stops") == ["line 7: marks characters 2 to 40 of a text of 5 characters"]


def test_answers_are_held_against_their_context(tmp_path: Path) -> None:
    def row(answer: str, start: int | None) -> str:
        return json.dumps({"question": "who?", "context": "Ada met Bob", "answer": answer, "answer_start": start})

    lines = [row("Bob", 8), row("Ada", 3), row("Eve", None), row("", None)]
    found = report(write(tmp_path / "d.jsonl", *lines), "question-answering")
    stops = messages(found, "stops")
    assert "line 2: the answer 'Ada' does not begin at character 3" in stops
    assert "line 3: the answer 'Eve' does not stand in the context" in stops
    assert found["classes"] == {"answered": 1, "without answer": 1}
    assert "characters of the question" in found["inputs"]


def test_numbers_to_predict_are_measured(tmp_path: Path) -> None:
    lines = [f"some words about number {i},{i / 2}" for i in range(20)]
    path = write(tmp_path / "d.csv", "text,price", *lines, "not a number at all,cheap")
    found = report(path, "text-regression", "--target-column", "price")
    assert found["targets"]["target"] == {"min": 0.0, "median": 4.5, "p95": 9.5, "max": 9.5}
    assert messages(found, "stops") == ["line 22: the target is no number: 'cheap'"]


def test_a_backbone_says_what_it_would_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTOCK_HOME", str(tmp_path / "home"))
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(tmp_path / "home")})) as catalogue:
        publish_backbone(catalogue)
    long = " ".join(np.random.default_rng(1).choice(["w1", "w2", "w3"], 300))
    path = write(tmp_path / "d.csv", "text,label", *rows(10), f"{long},ham")
    found = report(path, "text-classification", "--backbone", "toy")
    assert found["cut"] == 1
    assert "1 row is longer than the backbone reads" in messages(found, "note")[0]
    wrong = run(path, "image-classification", "--backbone", "toy", "--image-column", "text")
    assert "is for image, but backbone 'toy' reads text" in str(wrong.exception)
