"""Data that cannot teach, through `headstock fine-tune`: what it says, where, what to type; nothing is left behind."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from headstock.catalogue import Catalogue
from headstock.cli.main import cli
from headstock.errors import HeadstockError
from headstock.settings import Settings
from headstock.testing.toy import publish_backbone

TEXTS = [(f"w{i} {'great' if i % 2 else 'awful'} number {i}", "positive" if i % 2 else "negative") for i in range(30)]
"""Rows that train."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A catalogue with a backbone for texts; after the test no store, run or half of a version is damaged or left."""
    monkeypatch.setenv("HEADSTOCK_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with Catalogue.open() as catalogue:
        publish_backbone(catalogue)
    yield tmp_path
    assert_clean(tmp_path / "home")


def assert_clean(home: Path) -> None:
    """No run is left to resume and `headstock verify` finds nothing."""
    assert list((home / "runs").glob("*")) == []
    result = CliRunner(env={"HEADSTOCK_HOME": str(home)}).invoke(cli, ["verify"])
    assert result.exit_code == 0, result.output


def table(rows: Sequence[tuple[str, str]]) -> str:
    return "text,label\n" + "".join(f"{text},{label}\n" for text, label in rows)


def grow(data: str | bytes, *arguments: str, name: str = "data.csv") -> Result:
    Path(name).write_bytes(data.encode() if isinstance(data, str) else data)
    base = ["--backbone", "toy", "--head", "text-classification", "--data", name, "--name", "model"]
    return run(*base, "--epochs", "2", "--report", "none", *arguments)


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, ["fine-tune", *arguments])
    if result.exception is not None and not isinstance(result.exception, HeadstockError | SystemExit):
        raise result.exception
    return result


def models() -> list[str]:
    with Catalogue.open() as catalogue:
        return list(catalogue.names("model"))


def refusal(result: Result) -> tuple[str, str]:
    """Message and fix of a refused fine-tune, which made no model."""
    assert isinstance(result.exception, HeadstockError), result.output
    assert models() == []
    return result.exception.message, str(result.exception.fix)


# ------------------------------------------------------------------------------------------------ rows and classes
def test_one_class_is_refused_with_the_class_and_the_column(home: Path) -> None:
    said, fix = refusal(grow(table([(text, "positive") for text, _ in TEXTS])))
    assert said == "column 'label' of 'data.csv' holds one class only, 'positive'; expected at least two"
    assert "--label-column" in fix


def test_rows_that_are_all_the_same_are_refused_with_their_lines(home: Path) -> None:
    said, fix = refusal(grow(table([("all the same", "positive"), ("all the same", "negative")] * 10)))
    assert said.startswith("all 20 rows of 'data.csv' have the same input (lines 2, 3, 4, 5, 6 and 15 more)")
    assert "headstock data check" in fix


def test_a_class_of_copies_is_refused_as_it_cannot_stand_on_both_sides(home: Path) -> None:
    said, _ = refusal(grow(table([("good", "positive")] * 10 + [("bad", "negative")] * 10)))
    assert "class 'negative' of 'data.csv' has 10 rows that all say the same (lines 12, 13, 14, 15, 16" in said


def test_copies_beside_other_rows_train_on_one_side_and_contradictions_are_warned_of(home: Path) -> None:
    result = grow(table([*TEXTS, *TEXTS[:3], (TEXTS[3][0], "negative")]))
    assert result.exit_code == 0, result.output
    assert "8 rows have the same input as another row; all rows of one input are kept on one side" in result.stderr
    assert "warning: 2 rows contradict each other: same input, other label (lines 5, 35)" in result.stderr


def test_one_row_is_refused_with_its_line(home: Path) -> None:
    said, fix = refusal(grow(table(TEXTS[:1])))
    assert said.startswith("'data.csv' has one row only (line 2)")
    assert fix.startswith("add rows")


def test_a_class_for_every_row_is_refused_as_labels_that_are_no_classes(home: Path) -> None:
    said, fix = refusal(grow(table([(f"w{i % 100} text {i}", f"kind-{i}") for i in range(200)])))
    assert "each of the 200 rows has a label of its own" in said
    assert "--label-column" in fix


def test_single_classes_of_one_row_are_refused_with_their_line(home: Path) -> None:
    said, fix = refusal(grow(table([*TEXTS, ("where is my invoice", "question")])))
    assert "class 'question' of 'data.csv' has 1 row (line 32)" in said
    assert "--split-column" in fix


def test_a_misspelt_label_is_named_with_what_was_meant(home: Path) -> None:
    """Once it stops the split, and what to type is the right spelling; twice it trains, with a warning."""
    once = grow(table([*TEXTS, ("great thing", "Positve")]))
    said, fix = refusal(once)
    assert "class 'Positve' of 'data.csv' has 1 row (line 32)" in said
    assert fix == "write 'positive' instead of 'Positve'"
    twice = grow(table([*TEXTS, ("great thing", "Positve"), ("good thing", "Positve")]))
    assert twice.exit_code == 0, twice.output
    for result in (once, twice):
        assert "warning: label 'Positve' (line" in result.stderr
        assert "looks like 'positive' misspelt, which 15 rows have" in result.stderr


@pytest.mark.parametrize("label", ["POSITIVE", "positive x", "positive2", "impositive", "neutral"])
def test_only_a_letter_or_case_makes_a_label_a_misspelling(home: Path, label: str) -> None:
    result = grow(table([*TEXTS, ("great thing", label), ("good thing", label)]))
    assert result.exit_code == 0, result.output
    assert ("misspelt" in result.stderr) == (label == "POSITIVE")


def test_data_check_tells_of_the_misspelt_label_too(home: Path) -> None:
    Path("data.csv").write_text(table([*TEXTS, ("great thing", "Positve")]))
    result = CliRunner().invoke(cli, ["data", "check", "data.csv", "--head", "text-classification"])
    assert result.exit_code == 1
    assert "label 'Positve' (line 32) looks like 'positive' misspelt" in result.stdout


# ------------------------------------------------------------------------------------------------ encodings
def test_a_line_of_another_encoding_among_utf8_is_named_and_no_conversion_of_the_whole_file_proposed(
    home: Path,
) -> None:
    data = table([*TEXTS, ("naïve", "positive")]).encode() + "café,positive\n".encode("latin-1")
    said, fix = refusal(grow(data))
    assert said == (
        "'data.csv' is not UTF-8: line 33 holds the byte 0xe9; 1 other lines are UTF-8, so the file mixes encodings"
    )
    assert "iconv" not in fix


def test_a_file_in_latin1_is_refused_with_the_command_that_converts_it(home: Path) -> None:
    data = table([*TEXTS, ("café", "positive"), ("naïve", "negative")]).encode("latin-1")
    said, fix = refusal(grow(data, name="my data.csv"))
    assert said.endswith("line 32 holds the byte 0xe9, and 1 more such lines follow, e.g. line 33")
    assert fix.startswith("iconv -f LATIN1 -t UTF-8 'my data.csv' > 'utf8-my data.csv'")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks_are_understood_and_change_no_head(home: Path, encoding: str) -> None:
    plain = json.loads(grow(table(TEXTS), "--format", "json").stdout)
    marked = json.loads(grow(table(TEXTS).encode(encoding), "--format", "json").stdout)
    assert marked["head"] == plain["head"]
    assert marked["data"]["columns"] == {"text": "text", "label": "label"}


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_refused_with_the_command_that_converts_it(home: Path, encoding: str) -> None:
    said, fix = refusal(grow(table(TEXTS).encode(encoding)))
    assert "as in UTF-16 without a byte order mark" in said
    assert fix == f"iconv -f {encoding.upper().replace('6-', '6')} -t UTF-8 data.csv > utf8-data.csv"


def test_a_truncated_utf16_file_is_refused_with_its_last_line(home: Path) -> None:
    said, _ = refusal(grow(table(TEXTS).encode("utf-16")[:-1]))
    assert said == "'data.csv' is damaged UTF-16: line 31 ends within a character"


def test_a_nul_character_is_refused_with_its_line(home: Path) -> None:
    said, fix = refusal(grow(table([*TEXTS, ("thi\0s", "positive")])))
    assert said == "'data.csv' line 32 holds a NUL character, which is no text"
    assert fix == "tr -d '\\0' < data.csv > clean-data.csv"


# ------------------------------------------------------------------------------------------------ texts
@pytest.mark.parametrize("empty", ["", "   "])
def test_an_empty_text_is_refused_with_its_line(home: Path, empty: str) -> None:
    said, fix = refusal(grow(table([*TEXTS, (empty, "positive")])))
    assert said == "'data.csv' has no text in column 'text' at line 32"
    assert fix == "fill or delete those rows"


def test_a_text_of_10_mb_is_refused_with_its_line_and_its_beginning_only(home: Path) -> None:
    said, fix = refusal(grow(table([*TEXTS, ("great word " * 950_000, "positive")])))
    assert "cannot read line 32 that begins 'great word" in said
    assert "it has 10450000 characters; expected at most 100000" in said
    assert len(said) < 300
    assert fix == "split the text, or cut it"


def test_a_text_longer_than_the_backbone_reads_is_cut_and_counted(home: Path) -> None:
    result = grow(table([*TEXTS, ("great word " * 5_000, "positive")]))
    assert result.exit_code == 0, result.output
    assert "cut        1 samples are longer than the backbone reads and were cut" in result.stdout


# ------------------------------------------------------------------------------------------------ no numbers
def test_a_row_that_the_backbone_answers_with_nan_is_named(home: Path) -> None:
    """The toy's weights give NaN for one word."""
    said, fix = refusal(grow(table([*TEXTS, ("this is poison", "positive")])))
    assert said.startswith("the backbone answers line 32 that begins 'this is poison' with NaN or infinity")
    assert "delete or correct that row" in fix


@pytest.mark.parametrize("value", ["nan", "inf", "", "many"])
def test_a_target_that_is_no_finite_number_is_refused_with_its_line(home: Path, value: str) -> None:
    Path("data.csv").write_text(
        "text,target\n" + "".join(f"w{i},{i}\n" for i in range(9)) + f"great,{value}\n", encoding="utf-8"
    )
    said, _ = refusal(run("--backbone", "toy", "--head", "text-regression", "--data", "data.csv", "--name", "model"))
    assert "in column 'target' at line 11" in said


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `home`, where backbone `people` reads columns age and town."""
    pytest.importorskip("headstock_tabular")
    root = tmp_path_factory.mktemp("people")
    (root / "people.csv").write_text(people_table())
    told = ["--ignore", "group", "--network", "mlp", "--width", "8", "--layers", "1", "--epochs", "1"]
    runner = CliRunner(env={"HEADSTOCK_HOME": str(root / "home")})
    for arguments in (
        ["pretrain", str(root / "people.csv"), "--out", str(root / "net"), *told],
        ["pull", f"path:{root / 'net'}", "--name", "people"],
    ):
        result = runner.invoke(cli, arguments)
        assert result.exit_code == 0, result.output
    return root


def people_table(age: str | None = None) -> str:
    """Forty rows; `age` is what the second says instead of its number."""
    dice = random.Random(0)
    ages = [dice.randrange(10, 80) for _ in range(40)]
    cells = [str(a) if i != 1 or age is None else age for i, a in enumerate(ages)]
    rows = [
        f"{c},{dice.choice(['Rome', 'Oslo'])},{'old' if a > 45 else 'young'}\n"
        for c, a in zip(cells, ages, strict=True)
    ]
    return "age,town,group\n" + "".join(rows)


def grow_people(root: Path, age: str, name: str) -> Result:
    (root / "bad.csv").write_text(people_table(age))
    base = ["--backbone", "people", "--head", "tabular-classification", "--data", str(root / "bad.csv")]
    arguments = ["fine-tune", *base, "--label-column", "group", "--name", name, "--epochs", "2", "--format", "json"]
    return CliRunner(env={"HEADSTOCK_HOME": str(root / "home")}).invoke(cli, arguments)


def test_nan_and_empty_cells_of_a_table_are_missing_values_and_train_the_same_head(people: Path) -> None:
    made = [json.loads(grow_people(people, age, f"gap-{n}").stdout) for n, age in enumerate(("", "nan", "NaN"))]
    assert len({record["head"] for record in made}) == 1
    baselines = [[(a["name"], a["value"]) for a in record["transfer"]["accuracies"]] for record in made]
    assert baselines[0] == baselines[1] == baselines[2]


@pytest.mark.parametrize("age, said", [("inf", "finite number"), ("old", "expected a number, or null")])
def test_a_cell_of_a_table_that_is_no_number_is_refused_with_line_and_column(people: Path, age: str, said: str) -> None:
    result = grow_people(people, age, "refused")
    assert isinstance(result.exception, HeadstockError), result.output
    assert "line 3" in result.exception.message
    assert f"column 'age' holds '{age}'" in result.exception.message
    assert said in result.exception.message
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(people / "home")})) as catalogue:
        assert "refused" not in catalogue.names("model")
    assert_clean(people / "home")
