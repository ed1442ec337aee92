"""Preprocessing of kind `table`: every value of a row has a meaning, and what has none is refused by name."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from headstock.backbone.samples import samples_for
from headstock.errors import InvalidInput
from headstock.preprocess import Preprocessor, PreprocessSpec, open_preprocessor
from headstock.preprocess.table import TablePreprocessor
from headstock.testing.tiny_tabular import ROWS, SCHEMA

NUMERIC = {"name": "x", "type": "numeric", "mean": 0, "scale": 1}
CATEGORICAL = {"name": "c", "type": "categorical", "categories": ["3", "true", "Köln"]}


def reader(*columns: Any, **options: Any) -> Preprocessor:
    """The preprocessor of `SCHEMA`, or of these columns."""
    schema = {**SCHEMA, **({"columns": list(columns)} if columns else {}), **options}
    return open_preprocessor(PreprocessSpec("table", schema, {}), {})


def tensors(record: Any, *columns: Any) -> dict[str, Any]:
    """The tensors of one row, given as JSON would hold it."""
    (row,) = reader(*columns).rows([json.dumps(record).encode()])
    return row.tensors


# ---------------------------------------------------------------------------------------------- meanings
def test_a_row_becomes_standardised_numbers_places_of_dates_and_indices_of_categories() -> None:
    found = tensors(ROWS[0])
    days = 18_020  # 2019-05-04
    waves = [wave(2 * math.pi * days / cycle) for cycle in (365.2425, 7) for wave in (math.sin, math.cos)]
    expected = [(41 - 40) / 15, 1250.5 / 9000, 20 / 900, *waves]
    np.testing.assert_allclose(found["numeric"], expected, atol=1e-6)
    assert found["numeric"].dtype == np.float32
    assert found["categorical"].tolist() == [3, 3]
    assert found["categorical"].dtype == np.int64


@pytest.mark.parametrize("value", [None, "", " NA ", "absent"], ids=["null", "empty", "a text that means it", "absent"])
def test_a_missing_number_or_date_is_nan_in_all_of_its_features(value: Any) -> None:
    """One of the texts that mean it, null, or no such key."""
    record = {**ROWS[0], "age": value, "joined": value}
    if value == "absent":
        del record["age"], record["joined"]
    assert np.isnan(tensors(record)["numeric"]).tolist() == [True, False, True, True, True, True, True]


def test_a_missing_category_and_an_unseen_one_have_indices_of_their_own() -> None:
    """And "NA" is a category like any other: the code of Namibia."""
    for value, index in [(None, 0), ("", 0), ("  ", 0), ("Rom", 1), ("NA", 1), ("Bonn", 2), (" Ulm ", 4)]:
        assert tensors({**ROWS[0], "city": value})["categorical"][0] == index


def test_a_category_is_the_same_from_csv_and_from_json() -> None:
    """Text, number or truth; spelt as spreadsheets, Python or JSON do."""
    for value in ("3", 3, 3.0):
        assert tensors({"c": value}, CATEGORICAL)["categorical"].tolist() == [2]
    for value in (True, "true", "True", "TRUE"):
        assert tensors({"c": value}, CATEGORICAL)["categorical"].tolist() == [3]


def test_a_number_may_be_written_as_text() -> None:
    """As every cell of a CSV file is."""
    for value in (2.5, "2.5", " 2.5 ", "25e-1"):
        assert tensors({"x": value}, NUMERIC)["numeric"].tolist() == [2.5]
    assert tensors({"x": True}, NUMERIC)["numeric"].tolist() == [1.0]


def test_outliers_are_cut_off() -> None:
    """At `clip` standard deviations, so that nothing overflows."""
    assert tensors({"x": 1e300}, NUMERIC)["numeric"].tolist() == [10.0]
    assert tensors({"x": -11}, NUMERIC)["numeric"].tolist() == [-10.0]


def test_dates_are_read_in_their_columns_format_and_zone() -> None:
    """ISO with a zone is the same moment everywhere; without one it is UTC."""
    plain = {"name": "d", "type": "date", "mean": 0, "scale": 1, "format": "iso", "cycles": []}
    rows = reader(plain, clip=1e5).rows([json.dumps({"d": d}) for d in ("1970-01-02", "1970-01-02T01:00+01:00")])
    assert [row.tensors["numeric"].tolist() for row in rows] == [[1.0], [1.0]]
    german = {**plain, "format": "%d.%m.%Y"}
    assert reader(german, clip=1e5).rows(['{"d": "03.01.1970"}'])[0].tensors["numeric"].tolist() == [2.0]


def test_ignored_columns_may_be_there() -> None:
    """A label or an id in the row changes nothing."""
    with_label, without = tensors({**ROWS[0], "label": "yes"}), tensors(ROWS[0])
    assert all(np.array_equal(with_label[name], without[name]) for name in without)


# ---------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    "raw, message",
    [
        (b'{"aeg": 3}', r"row 0 has the key 'aeg', which is no column of this table; did you mean 'age'\?"),
        (b'{"label": 1}', "row 0 has none of the table's columns"),
        (b"{}", "row 0 has none of the table's columns"),
        (b'{"age": "old"}', "row 0: column 'age' holds 'old'; expected a number, or null where it is missing"),
        (b'{"age": [1]}', r"column 'age' holds \[1\]; expected a number"),
        (b'{"age": "1_000"}', "column 'age' holds '1_000'; expected a number"),
        (b'{"age": 1e999}', "column 'age' holds inf; expected a finite number"),
        (b'{"age": 1' + b"0" * 400 + b"}", "column 'age' holds 10+.*; expected a number"),
        (b'{"age": NaN}', "row 0 is not JSON: NaN is not a JSON value; a missing value is null"),
        (b'{"joined": "4.5.2019"}', "column 'joined' holds '4.5.2019'; expected a date in ISO 8601"),
        (b'{"joined": 18000}', "column 'joined' holds 18000; expected a date in ISO 8601"),
        (b'{"city": {"name": "Ulm"}}', "column 'city' holds .*; expected a text, a number or true/false"),
        (b'{"age": 1, "age": 2}', "row 0 is not JSON: a key stands in it twice"),
        (b"[1]", "row 0 is a JSON list; expected an object: column to value"),
        (b"\xff\xfe", "row 0 is not JSON"),
        (b"[" * 100_000, "row 0 is not JSON"),
        (b" " * (1 << 20) + b"{}", "row 0 has 1048578 bytes; expected at most 1048576"),
        (7, "row 0 is a int; expected a JSON object as bytes or str"),
    ],
)
def test_what_has_no_meaning_is_refused_by_name(raw: Any, message: str) -> None:
    """Never an error deep inside, and never a missing value in place of a typing mistake."""
    with pytest.raises(InvalidInput, match=message):
        reader().rows([raw])


def test_the_row_at_fault_is_named() -> None:
    """By its index among those that were sent."""
    with pytest.raises(InvalidInput, match="row 2: column 'age' holds 'old'"):
        reader().rows([*(json.dumps(row) for row in ROWS[:2]), b'{"age": "old"}'])


@pytest.mark.parametrize(
    "column, message",
    [
        ({"name": "x", "type": "number"}, "expected a type out of"),
        ({"name": "x", "type": "numeric", "mean": 0}, "with the keys of its type"),
        ({**NUMERIC, "scale": 0}, "scale of 'x' is 0; expected a number above 0"),
        ({**NUMERIC, "mean": math.nan}, "mean of 'x' is nan; expected a finite number"),
        ({**NUMERIC, "mean": True}, "mean of 'x' is True; expected a finite number"),
        ({**NUMERIC, "name": ""}, "name is ''; expected a text that is not empty"),
        ({**CATEGORICAL, "categories": ["a", "a"]}, "categories of 'c' is 2; expected at most 100000, each once"),
        ({**CATEGORICAL, "categories": [3]}, "expected a list of texts"),
        (
            {"name": "d", "type": "date", "mean": 0, "scale": 1, "format": "%d %B", "cycles": []},
            "format of 'd' is '%d %B'; expected 'iso' or a pattern",
        ),
        (
            {"name": "d", "type": "date", "mean": 0, "scale": 1, "format": "iso", "cycles": ["moon"]},
            "cycles of 'd' is .*; expected some of",
        ),
        ({"name": "x", "type": "ignored"}, "all columns are ignored"),
    ],
)
def test_schemas_that_cannot_be_are_refused(column: Any, message: str) -> None:
    """By the column and the key."""
    with pytest.raises(InvalidInput, match=message):
        reader(column)
    with pytest.raises(InvalidInput, match="two columns are called 'x'"):
        reader(NUMERIC, NUMERIC)


def test_the_schema_decides_the_digest() -> None:
    """Equal numbers in two spellings do not; a category more does."""

    def digest(*columns: Any) -> str:
        from headstock.preprocess.table_options import TableOptions

        options = TableOptions.parse({**SCHEMA, "columns": list(columns)})
        return PreprocessSpec("table", options.to_json(), {}).digest

    assert digest(NUMERIC) == digest({**NUMERIC, "mean": 0.0, "scale": 1.0})
    assert digest(NUMERIC) != digest({**NUMERIC, "mean": 0.5})
    assert digest(CATEGORICAL) != digest({**CATEGORICAL, "categories": ["3", "true"]})


# ----------------------------------------------------------------------------------------- ready tensors
def test_ready_tensors_give_the_same_rows_as_json() -> None:
    """What `collate` makes can be sent."""
    read = reader()
    rows = read.rows([json.dumps(row) for row in ROWS])
    again = read.rows_from_tensors(read.collate(rows))
    for name in ("numeric", "categorical"):
        np.testing.assert_array_equal([r.tensors[name] for r in again], [r.tensors[name] for r in rows])
    assert {row.length for row in (*rows, *again)} == {9}
    assert [(s.name, s.datatype, s.shape) for s in read.tensor_inputs] == [
        ("numeric", "FP32", (-1, 7)),
        ("categorical", "INT64", (-1, 2)),
    ]
    assert (read.raw_input.name, read.raw_input.datatype) == ("row", "BYTES")


def test_a_table_without_categories_has_no_such_tensor() -> None:
    """And the other way round."""
    assert list(tensors({"x": 1}, NUMERIC)) == ["numeric"]
    assert list(tensors({"c": 1}, CATEGORICAL)) == ["categorical"]
    assert [s.name for s in reader(NUMERIC).tensor_inputs] == ["numeric"]
    assert reader(CATEGORICAL).rows_from_tensors({"categorical": np.array([[1]])})[0].length == 1


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"numeric": np.zeros((2, 7))}, "input 'numeric' has dtype float64; expected float32"),
        ({"numeric": np.zeros((2, 6), np.float32)}, r"input 'numeric' has shape \[2, 6\]; expected \['rows', 7\]"),
        ({"numeric": np.full((2, 7), np.inf, np.float32)}, "row 0 of 'numeric' holds infinity"),
        ({"numeric": np.zeros((3, 7), np.float32)}, r"inputs have \[2, 3\] rows"),
        ({"categorical": np.array([[0, 0], [0, 4]])}, "holds 4 at row 1, column 1; expected 0 .* or up to 3"),
        ({"categorical": np.array([[-1, 0], [0, 0]])}, "holds -1 at row 0, column 0"),
        ({"extra": np.zeros(2)}, r"do not fit; expected \['numeric', 'categorical'\]"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    """By tensor, row and column; NaN is a missing number and fits."""
    good: dict[str, Any] = {"numeric": np.full((2, 7), np.nan, np.float32), "categorical": np.zeros((2, 2), np.int64)}
    assert len(reader().rows_from_tensors(good)) == 2
    with pytest.raises(InvalidInput, match=message):
        reader().rows_from_tensors(good | changes)


# ----------------------------------------------------------------------------------------------- samples
def test_a_pull_tries_rows_of_every_kind() -> None:
    """Missing and unseen values are among them, and all at the ends of the range."""
    samples = samples_for(reader())
    numbers = np.stack([row.tensors["numeric"] for row in samples.ordinary])
    indices = np.stack([row.tensors["categorical"] for row in samples.ordinary])
    assert len(samples.ordinary) >= 10
    assert np.isnan(numbers).any(axis=0).all()
    assert {0, 1} < set(indices.flatten().tolist())
    extremes = np.stack([row.tensors["numeric"] for row in samples.longest])
    assert {-10.0, 10.0} < set(extremes.flatten().tolist())


def test_opening_it_imports_no_library_but_numpy() -> None:
    """It runs in the server for every request."""
    code = (
        "import sys, headstock.preprocess.table;"
        "print([m for m in ('torch', 'pandas', 'pyarrow', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_it_says_what_it_is() -> None:
    assert repr(reader()) == "TablePreprocessor(features=7, categorical=2)"
    with pytest.raises(InvalidInput, match=r"table preprocessing has files \['tokenizer'\]; expected none"):
        TablePreprocessor(PreprocessSpec("table", SCHEMA, {"tokenizer": "sha256:0"}), {})  # type: ignore[dict-item]
