"""Rows that know where their tokens stand in the text: for heads whose answers point into it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstock.catalogue import Catalogue
from headstock.errors import InvalidInput, Unsupported
from headstock.names import Reference
from headstock.preprocess import Preprocessor, PreprocessSpec, open_preprocessor
from headstock.preprocess.reading import raw_inputs, read_rows
from headstock.records import Tap
from headstock.servable import load_backbone
from headstock.settings import Settings
from headstock.testing.toy import MAX_LENGTH, publish_backbone


@pytest.fixture(scope="module")
def preprocessor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Preprocessor]:
    """The toy's: words are tokens, `[CLS]` and `[SEP]` around them."""
    home = tmp_path_factory.mktemp("places")
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(home)})) as catalogue:
        yield load_backbone(catalogue, publish_backbone(catalogue).subject).open_preprocessor()


def _ids(row: Any) -> list[int]:
    found: list[int] = row.tensors["input_ids"].tolist()
    return found


def test_every_token_says_where_it_stands_and_which_word_it_is_of(preprocessor: Preprocessor) -> None:
    """Offsets count characters, not bytes; special tokens are of no word."""
    text = "ü  late,\n order"
    (row,) = read_rows(preprocessor, "text", [[text.encode()]])
    assert row.extra is not None
    assert row.extra["text"] == text
    assert row.extra["words"].tolist() == [-1, 0, 1, 2, 3, -1]
    cut = [text[start:end] for start, end in row.extra["offsets"][1:-1]]
    assert cut == ["ü", "late", ",", "order"]


def test_the_tensors_are_those_of_a_row_without_places(preprocessor: Preprocessor) -> None:
    """Trained equals served holds across heads: the same text is the same row."""
    texts = ["late order", "bad " * 300]
    for plain, placed in zip(preprocessor.rows(texts), read_rows(preprocessor, "text", [texts]), strict=True):
        assert plain.extra is None
        assert (plain.length, plain.truncated) == (placed.length, placed.truncated)
        for name, tensor in plain.tensors.items():
            assert np.array_equal(tensor, placed.tensors[name])


def test_pieces_of_a_word_share_its_number(tiny_home: Path) -> None:
    """On a real WordPiece tokeniser."""
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(tiny_home)})) as catalogue:
        subject = catalogue.version(Reference("tiny")).subject
        found = load_backbone(catalogue, subject).open_preprocessor()
    (row,) = read_rows(found, "text", [["a bab ab"]])
    assert row.extra is not None
    words = row.extra["words"][row.extra["words"] >= 0].tolist()
    assert words == sorted(words)
    assert len(set(words)) == 3


def test_a_pair_is_one_row_whose_places_are_in_the_context(preprocessor: Preprocessor) -> None:
    (row,) = read_rows(preprocessor, "pair", [["where is it"], ["the late order"]])
    alone = _ids(preprocessor.rows(["where is it the late order"])[0])
    assert _ids(row) == [*alone[:4], 3, *alone[4:7], 3]
    assert row.extra is not None
    assert row.extra["words"].tolist() == [-1, -1, -1, -1, -1, 0, 1, 2, -1]
    assert [row.extra["text"][s:e] for s, e in row.extra["offsets"][5:8]] == ["the", "late", "order"]
    assert not row.truncated


def test_a_pair_too_long_loses_the_end_of_its_context_only(preprocessor: Preprocessor) -> None:
    (row,) = read_rows(preprocessor, "pair", [["where is it"], ["late " * 200 + "order"]])
    assert row.truncated
    assert row.length == MAX_LENGTH
    assert _ids(row)[:5] == _ids(read_rows(preprocessor, "pair", [["where is it"], ["a"]])[0])[:5]


def test_a_question_that_leaves_no_room_is_named(preprocessor: Preprocessor) -> None:
    with pytest.raises(InvalidInput, match="question 1 has 128 tokens or more and leaves its context no room"):
        read_rows(preprocessor, "pair", [["where", "late " * 130], ["a", "b"]])


def test_questions_and_contexts_come_in_pairs(preprocessor: Preprocessor) -> None:
    with pytest.raises(InvalidInput, match="2 questions and 1 contexts"):
        read_rows(preprocessor, "pair", [["a", "b"], ["c"]])


def test_what_a_head_reads_decides_the_raw_inputs(preprocessor: Preprocessor) -> None:
    assert [spec.name for spec in raw_inputs(preprocessor, "any")] == ["text"]
    assert [spec.name for spec in raw_inputs(preprocessor, "text")] == ["text"]
    assert [spec.name for spec in raw_inputs(preprocessor, "pair")] == ["question", "context"]


def test_only_a_text_has_places_to_point_to() -> None:
    options = {
        "sampling_rate": 16_000,
        "max_seconds": 1,
        "resampling": "soxr-hq",
        "normalise": True,
        "min_samples": 400,
    }
    sound = open_preprocessor(PreprocessSpec("waveform", options, {}), {})
    with pytest.raises(Unsupported, match="places in a text, but its backbone reads 'audio'"):
        read_rows(sound, "text", [[b""]])


@pytest.mark.parametrize(
    "tap, steps, positions",
    [
        (Tap("tokens", (-1, -1, 8)), 7, 7),
        (Tap("frames", (-1, -1, 8), ((10, 5), (3, 2))), 400, 39),
        (Tap("frames", (-1, -1, 8), ((10, 5), (3, 2))), 4, 0),
    ],
)
def test_input_steps_become_positions_by_the_taps_own_convolutions(tap: Tap, steps: int, positions: int) -> None:
    assert tap.ragged
    assert tap.positions(steps) == positions


def test_taps_of_one_size_are_not_ragged() -> None:
    for shape in ((-1, 8), (-1, 7, 7, 8), (-1, 50, 8)):
        assert not Tap("t", shape).ragged
