"""Text preprocessing: one implementation for training and serving."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstock.digest import Digest
from headstock.errors import Corrupt, InvalidInput
from headstock.preprocess import PreprocessSpec
from headstock.preprocess.text import MAX_CHARACTERS, TextPreprocessor

INPUTS = ["input_ids", "attention_mask", "token_type_ids"]
PAD, UNK, CLS, SEP = 0, 1, 2, 3


def make(checkpoint: Path, **changes: Any) -> TextPreprocessor:
    options = {
        "max_length": 16,
        "truncation": "right",
        "pad_id": PAD,
        "pad_type_id": 0,
        "vocab_size": 200,
        "inputs": INPUTS,
        **changes,
    }
    spec = PreprocessSpec("text", options, {"tokenizer": Digest("sha256:" + "0" * 64)})
    return TextPreprocessor(spec, {"tokenizer": checkpoint / "tokenizer.json"})


@pytest.fixture(scope="module")
def text(tiny_checkpoint: Path) -> TextPreprocessor:
    return make(tiny_checkpoint)


def ids(rows: int, length: int) -> dict[str, np.ndarray]:
    return {
        "input_ids": np.full((rows, length), 7, np.int64),
        "attention_mask": np.ones((rows, length), np.int64),
    }


def test_bytes_and_str_make_the_same_row(text: TextPreprocessor) -> None:
    from_str, from_bytes = text.rows(["where is my order", b"where is my order"])
    assert {k: v.tolist() for k, v in from_str.tensors.items()} == {
        k: v.tolist() for k, v in from_bytes.tensors.items()
    }
    assert from_str.tensors["input_ids"][0] == CLS
    assert from_str.tensors["input_ids"][-1] == SEP
    assert from_str.length == 6
    assert not from_str.truncated


def test_a_row_longer_than_the_maximum_is_cut_at_the_right_and_says_so(text: TextPreprocessor) -> None:
    exact, over = text.rows(["order " * 14, "order " * 13 + "refund please"])
    assert (exact.length, exact.truncated) == (16, False)
    assert (over.length, over.truncated) == (16, True)
    assert over.tensors["input_ids"][-1] == SEP


def test_padding_and_truncation_that_the_tokenizer_file_carries_are_ignored(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """The real MiniLM's file pads every text to 128 tokens."""
    content = json.loads((tiny_checkpoint / "tokenizer.json").read_text())
    content["padding"] = {
        "strategy": {"Fixed": 128},
        "direction": "Left",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    content["truncation"] = {"max_length": 3, "strategy": "LongestFirst", "stride": 0, "direction": "Left"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    (row,) = make(tmp_path).rows(["where is my order"])
    assert row.length == 6
    assert PAD not in row.tensors["input_ids"]


def test_a_batch_is_padded_to_its_longest_row_and_no_further(text: TextPreprocessor) -> None:
    rows = text.rows(["order", "where is my order", "refund please"])
    batch = text.collate(rows)
    assert list(batch) == INPUTS
    assert {(v.shape, v.dtype) for v in batch.values()} == {((3, 6), np.dtype(np.int64))}
    assert batch["attention_mask"].sum(axis=1).tolist() == [3, 6, 4]
    assert batch["input_ids"][0].tolist() == [*rows[0].tensors["input_ids"].tolist(), PAD, PAD, PAD]


def test_rows_of_equal_length_make_the_same_batch_as_a_loop_would(text: TextPreprocessor) -> None:
    rows = text.rows(["order late", "refund please"])
    batch = text.collate(rows)
    for name in INPUTS:
        assert batch[name].tolist() == [row.tensors[name].tolist() for row in rows]


def test_the_pad_id_of_the_spec_is_what_fills(tiny_checkpoint: Path) -> None:
    other = make(tiny_checkpoint, pad_id=UNK)
    assert other.collate(other.rows(["order", "where is my order"]))["input_ids"][0, -1] == UNK


def test_a_spec_without_token_types_makes_none(tiny_checkpoint: Path) -> None:
    two = make(tiny_checkpoint, inputs=INPUTS[:2])
    assert list(two.collate(two.rows(["order"]))) == INPUTS[:2]
    with pytest.raises(InvalidInput, match="do not fit"):
        two.rows_from_tensors({**ids(1, 4), "token_type_ids": np.zeros((1, 4), np.int64)})


def test_no_texts_make_no_rows(text: TextPreprocessor) -> None:
    assert text.rows([]) == []


@pytest.mark.parametrize(
    "sample, said",
    [
        (b"\xff\xfe", "text 1 is not UTF-8"),
        ("\ud800", "lone surrogate"),
        (3, "text 1 is a int"),
        (None, "text 1 is a NoneType"),
        ("x" * (MAX_CHARACTERS + 1), f"text 1 has {MAX_CHARACTERS + 1} characters; expected at most {MAX_CHARACTERS}"),
    ],
)
def test_a_sample_that_is_no_text_is_named_by_its_index(text: TextPreprocessor, sample: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        text.rows(["fine", sample])


def test_ten_megabytes_are_refused_before_they_cost_anything(text: TextPreprocessor) -> None:
    """Tokenising them would take seconds."""
    word = b"a" * 10_000_000
    with pytest.raises(InvalidInput, match="10000000 bytes"):
        text.rows([word])


def test_ready_tensors_become_the_rows_that_their_text_would(text: TextPreprocessor) -> None:
    rows = text.rows(["order", "where is my order"])
    again = text.rows_from_tensors(text.collate(rows))
    assert [r.length for r in again] == [3, 6]
    for one, other in zip(rows, again, strict=True):
        assert {k: v.tolist() for k, v in one.tensors.items()} == {k: v.tolist() for k, v in other.tensors.items()}


def test_padding_to_the_right_is_stripped_and_token_types_default_to_zero(text: TextPreprocessor) -> None:
    tensors = ids(2, 5)
    tensors["attention_mask"][0, 2:] = 0
    first, second = text.rows_from_tensors(tensors)
    assert (first.length, second.length) == (2, 5)
    assert first.tensors["token_type_ids"].tolist() == [0, 0]


def test_a_hole_in_the_mask_stays_a_hole(text: TextPreprocessor) -> None:
    tensors = ids(1, 4)
    tensors["attention_mask"][0] = [0, 1, 0, 1]
    (row,) = text.rows_from_tensors(tensors)
    assert row.tensors["attention_mask"].tolist() == [0, 1, 0, 1]


def test_padding_does_not_count_against_the_maximum(text: TextPreprocessor) -> None:
    tensors = ids(1, 40)
    tensors["attention_mask"][0, 16:] = 0
    assert text.rows_from_tensors(tensors)[0].length == 16


def broken(name: str, value: np.ndarray) -> dict[str, np.ndarray]:
    return {**ids(2, 4), name: value}


@pytest.mark.parametrize(
    "tensors, said",
    [
        (broken("input_ids", np.full((2, 4), 7, np.int32)), "'input_ids' has dtype int32; expected int64"),
        (broken("input_ids", np.full(4, 7, np.int64)), r"'input_ids' has shape \[4\]; expected \[rows, tokens\]"),
        (broken("attention_mask", np.ones((2, 3), np.int64)), r"has shape \[2, 3\] but 'input_ids' has \[2, 4\]"),
        (broken("input_ids", np.full((2, 4), 200, np.int64)), "holds 200 at row 0, position 0; expected 0 to 199"),
        (broken("input_ids", np.full((2, 4), -1, np.int64)), "holds -1 at row 0"),
        (broken("attention_mask", np.full((2, 4), 2, np.int64)), "'attention_mask' holds 2"),
        (broken("attention_mask", np.zeros((2, 4), np.int64)), "row 0 of 'attention_mask' is all zeros"),
        (broken("token_type_ids", np.full((2, 4), 2, np.int64)), "'token_type_ids' holds 2"),
        (broken("position_ids", np.zeros((2, 4), np.int64)), "do not fit"),
        ({"input_ids": np.zeros((2, 4), np.int64)}, "do not fit"),
        (ids(2, 0), "expected \\[rows, tokens\\]"),
        (ids(1, 17), "row 0 has 17 tokens; this backbone takes at most 16"),
    ],
)
def test_tensors_that_would_break_the_graph_are_refused_by_name(
    text: TextPreprocessor, tensors: dict[str, np.ndarray], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        text.rows_from_tensors(tensors)


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"truncation": "left"}, "truncation is 'left'"),
        ({"max_length": 2}, "leaves no room"),
        ({"max_length": 10**12}, "more than any text has"),
        ({"max_length": True}, "'max_length' is True"),
        ({"vocab_size": 20}, "the backbone knows only 20 tokens"),
        ({"pad_id": 200}, "outside the vocabulary"),
        ({"inputs": ["attention_mask"]}, "inputs are"),
        ({"lowercase": True}, "options are"),
    ],
)
def test_a_spec_that_cannot_hold_is_refused_when_it_is_opened(
    tiny_checkpoint: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        make(tiny_checkpoint, **changes)


def test_a_damaged_tokenizer_file_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(Corrupt, match=r"'tokenizer.json' cannot be read"):
        make(tmp_path)
