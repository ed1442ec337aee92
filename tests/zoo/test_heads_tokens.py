"""Token classification and question answering: places in a text become targets of tokens, and tokens places again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from headstock import postprocess
from headstock.errors import InvalidInput
from headstock.heads import PositionHead, QuestionAnsweringHead, TokenClassificationHead
from headstock.heads.marks import Mark, read_marks, spans_in
from headstock.heads.token_classification import IGNORED
from headstock.hookspecs import Targets


class Tagger(TokenClassificationHead):
    name: ClassVar[str] = "toy-tagger"
    modality: ClassVar[str] = "text"
    tap: ClassVar[str] = "tokens"


class Reader(QuestionAnsweringHead):
    name: ClassVar[str] = "toy-reader"
    modality: ClassVar[str] = "text"
    tap: ClassVar[str] = "tokens"


def _context(text: str, pieces: Sequence[str | None], asked: int = 0) -> Mapping[str, Any]:
    """`extra` as a tokeniser would make it: pieces in order, `##` goes on the word, None is a special token.

    The first `asked` pieces belong to a question and not to the text.
    """
    offsets, words, at, word = [], [], 0, -1
    for number, piece in enumerate(pieces):
        if piece is None or number < asked:
            offsets.append((0, 0))
            words.append(-1)
            continue
        at = text.index(piece.removeprefix("##"), at)
        word += not piece.startswith("##")
        offsets.append((at, at := at + len(piece.removeprefix("##"))))
        words.append(word)
    return {"text": text, "offsets": np.array(offsets, np.int32), "words": np.array(words, np.int32)}


PARIS = "Anna Berg flew to New York."
PIECES = [None, "Anna", "Berg", "fl", "##ew", "to", "New", "York", ".", None]
SPANS = [Mark(0, 9, "PER"), Mark(18, 26, "LOC")]


def _logits(classes: Sequence[int], count: int = 5) -> np.ndarray:
    return 4 * np.eye(count, dtype=np.float32)[list(classes)]


# ------------------------------------------------------------------------------------------- marked texts
@pytest.mark.parametrize(
    "cell",
    [
        [{"start": 0, "end": 9, "label": "PER"}, {"start": 18, "end": 26, "label": "LOC"}],
        [[18, 26, "LOC"], [0, 9, "PER"]],
        '[{"start": 0, "end": 9, "label": "PER"}, [18, 26, "LOC"]]',
        np.array([[0, 9, "PER"], [18, 26, "LOC"]], dtype=object),
    ],
)
def test_spans_of_characters_are_read_however_they_are_written(cell: Any) -> None:
    assert list(spans_in(read_marks(cell, 1), PARIS, 1)) == SPANS


@pytest.mark.parametrize(
    "tags",
    [
        "B-PER I-PER O O B-LOC I-LOC O",
        ["B-PER", "I-PER", "O", "O", "B-LOC", "I-LOC", "O"],
        "I-PER I-PER O O B-LOC E-LOC O",
    ],
)
def test_tags_of_words_become_spans_of_characters(tags: Any) -> None:
    """Also in the older scheme where a span may begin with I, and with explicit ends."""
    assert list(spans_in(read_marks(tags, 1), "Anna Berg flew to New York .", 1)) == SPANS


def test_two_spans_of_one_type_may_touch() -> None:
    marks = read_marks("B-PER B-PER S-PER", 1)
    assert spans_in(marks, "Anna Bob Eve", 1) == (Mark(0, 4, "PER"), Mark(5, 8, "PER"), Mark(9, 12, "PER"))


@pytest.mark.parametrize("cell", ["", None, "[]", [], "O O O"])
def test_a_row_may_mark_nothing(cell: Any) -> None:
    assert spans_in(read_marks(cell, 1), "a b c", 1) == ()


@pytest.mark.parametrize(
    "cell, message",
    [
        ("[{broken", "the spans of row 7 are no JSON list"),
        ([[4, 2, "X"]], r"row 7 has the span \[4, 2, 'X'\]; expected"),
        ([[0, True, "X"]], "expected"),
        ([{"start": 0, "end": 3}], "expected"),
        ([[0, 5, "X"], [3, 9, "Y"]], "the spans of row 7 overlap: 0 to 5 and 3 to 9"),
        ("O PER", "row 7 has the tag 'PER'; expected 'O', 'B-TYPE' or 'I-TYPE'"),
    ],
)
def test_marks_that_mean_nothing_are_refused_naming_the_row(cell: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        read_marks(cell, 7)


@pytest.mark.parametrize(
    "cell, message",
    [
        ([[0, 99, "X"]], "row 3 marks characters 0 to 99 of a text of 27 characters"),
        ("O O", "row 3 has 2 tags for 6 words"),
    ],
)
def test_marks_that_do_not_fit_their_text_are_refused(cell: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        spans_in(read_marks(cell, 3), PARIS, 3)


# ------------------------------------------------------------------------------------- token classification
def _tagged(*cells: Any) -> Targets:
    encoded = Tagger().encode({"spans": list(cells)})
    return Tagger().align(encoded, [_context(PARIS, PIECES)] * len(cells))


def test_the_first_token_of_each_word_gets_its_class_and_nothing_else_teaches() -> None:
    targets = _tagged([[0, 9, "PER"], [18, 26, "LOC"]])
    assert targets.labels == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    x = IGNORED
    assert targets.values[0].classes.tolist() == [x, 3, 4, 0, x, 0, 1, 2, 0, x]


def test_an_older_heads_classes_keep_their_order_and_unknown_types_are_named() -> None:
    labels = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    assert Tagger().encode({"spans": [[[0, 4, "LOC"]]]}, labels).labels == tuple(labels)
    with pytest.raises(InvalidInput, match=r"type 'ORG' is not one of \['LOC', 'PER'\]"):
        Tagger().encode({"spans": [[[0, 4, "ORG"]]]}, labels)


def test_data_without_a_span_cannot_train_a_tagger() -> None:
    with pytest.raises(InvalidInput, match="none of the 2 rows marks a span"):
        Tagger().encode({"spans": ["O O", None]})


def test_outputs_become_spans_of_characters_with_types_texts_and_scores() -> None:
    """The answer that is served; special tokens and word continuations have no say."""
    targets = _tagged([[0, 9, "PER"], [18, 26, "LOC"]])
    spec = Tagger().postprocess(targets, {})
    raw = _logits([3, 3, 4, 0, 1, 0, 1, 2, 0, 1])
    short = _logits([0, 1])
    contexts = [_context(PARIS, PIECES), _context("x", [None, "x"])]
    answers = postprocess.apply(spec, [raw, short], contexts)
    found, other = (json.loads(answer) for answer in answers["entities"])
    assert [(e["label"], e["start"], e["end"], e["text"]) for e in found] == [
        ("PER", 0, 9, "Anna Berg"),
        ("LOC", 18, 26, "New York"),
    ]
    share = (np.exp(4) + 1) / (np.exp(4) + 4)
    assert found[0]["score"] == pytest.approx(share, abs=1e-5)
    assert [e["text"] for e in other] == ["x"]
    assert answers["lengths"].tolist() == [10, 2]
    assert answers["logits"].shape == (2, 10, 5)
    assert not answers["logits"][1, 2:].any()
    assert np.array_equal(answers["logits"][0], raw)


@pytest.mark.parametrize(
    "classes, expected",
    [
        ([2, 2], [("LOC", "New York")]),
        ([1, 1], [("LOC", "New"), ("LOC", "York")]),
        ([1, 4], [("LOC", "New"), ("PER", "York")]),
        ([0, 0], []),
    ],
)
def test_classes_that_no_scheme_would_write_still_make_spans(
    classes: list[int], expected: list[tuple[str, str]]
) -> None:
    """An I after nothing of its type begins a span; a B always does."""
    context = _context("New York", ["New", "York"])
    spec = {"kind": "token-classification", "labels": ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]}
    answers = postprocess.apply(spec, [_logits(classes)], [context])
    assert [(e["label"], e["text"]) for e in json.loads(answers["entities"][0])] == expected


def test_spaces_that_a_tokeniser_counts_as_part_of_a_word_are_cut_off() -> None:
    context = {**_context("a  Rome ", ["a", "Rome"])}
    context["offsets"] = np.array([[0, 1], [1, 8]], np.int32)
    spec = {"kind": "token-classification", "labels": ["O", "B-LOC", "I-LOC"]}
    (answer,) = postprocess.apply(spec, [_logits([0, 1], 3)], [context])["entities"]
    assert json.loads(answer)[0] | {"score": 0} == {"label": "LOC", "start": 3, "end": 7, "text": "Rome", "score": 0}


def test_metrics_count_exact_spans_also_those_that_were_cut_off() -> None:
    """A span behind the text's cut is a miss of the model, not of the data."""
    targets = _tagged([[0, 9, "PER"], [18, 26, "LOC"]], [])
    cut = Tagger().align(Tagger().encode({"spans": [[[18, 26, "LOC"]]]}), [_context(PARIS, PIECES[:4])])
    perfect = [_logits([0, 3, 4, 0, 0, 0, 1, 2, 0, 0]), _logits([0] * 10)]
    found = {m.name: m.value for m in Tagger().metrics(perfect, targets, 0)}
    assert found == {"entity_f1": 1.0, "entity_precision": 1.0, "entity_recall": 1.0, "word_accuracy": 1.0}
    assert Tagger().metrics([_logits([0] * 4, 3)], cut, 0)[2].value == 0.0
    half = [_logits([0, 3, 0, 0, 0, 0, 1, 2, 0, 0]), _logits([0] * 10)]
    assert Tagger().metrics(half, targets, 0)[0].value == pytest.approx(0.5)


# ---------------------------------------------------------------------------------------------- batches
def _trained(head_type: PositionHead, rows: Sequence[np.ndarray], targets: Targets, steps: int) -> Any:
    torch.manual_seed(0)
    head: Any = head_type.build(rows[0].shape[1], targets, head_type.default_options())
    head.fit_input_statistics(torch.from_numpy(np.concatenate(rows)))
    optimiser = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(steps):
        optimiser.zero_grad()
        head_type.loss(head, head_type.collate(rows, targets)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return head.eval()


def _outputs(head: Any, rows: Sequence[np.ndarray]) -> list[np.ndarray]:
    with torch.no_grad():
        return [head(torch.from_numpy(row)).numpy() for row in rows]


def _features(contexts: Sequence[Mapping[str, Any]], meaning: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """Tokens whose features say what they are, with some noise."""
    random = np.random.default_rng(0)
    return [
        (2 * np.eye(8)[list(m)] + 0.3 * random.standard_normal((len(c["words"]), 8))).astype(np.float32)
        for c, m in zip(contexts, meaning, strict=True)
    ]


def test_a_tagger_learns_from_rows_of_different_lengths_and_folds_into_one_linear_map() -> None:
    contexts = [_context(PARIS, PIECES), _context("To Rome", [None, "To", "Rome"])] * 4
    cells = [[[0, 9, "PER"], [18, 26, "LOC"]], [[3, 7, "LOC"]]] * 4
    targets = Tagger().align(Tagger().encode({"spans": cells}), contexts)
    rows = _features(contexts, [[7, 3, 4, 0, 6, 0, 1, 2, 0, 7], [7, 0, 1]] * 4)
    head = _trained(Tagger(), rows, targets, 60)
    outputs = _outputs(head, rows)
    assert Tagger().metrics(outputs, targets, 0)[0].value == 1.0
    form = Tagger().linear_form(head)
    assert form is not None
    for row, output in zip(rows, outputs, strict=True):
        assert np.abs(row @ form.weight + form.bias - output).max() < 1e-5


def test_what_stands_in_the_padding_teaches_nothing() -> None:
    """The loss of a padded batch is that of its rows, weighted by their words, whatever the padding holds."""
    contexts = [_context(PARIS, PIECES), _context("To Rome", [None, "To", "Rome"])]
    targets = Tagger().align(Tagger().encode({"spans": [[[0, 9, "PER"]], [[3, 7, "PER"]]]}), contexts)
    rows = _features(contexts, [[0] * 10, [1] * 3])
    torch.manual_seed(0)
    head = Tagger().build(8, targets, {})
    batch = Tagger().collate(rows, targets)
    assert batch.mask is not None
    assert batch.mask.sum(dim=1).tolist() == [10, 3]
    loss = Tagger().loss(head, batch)
    batch.features[~batch.mask] = 1e6
    assert torch.equal(Tagger().loss(head, batch), loss)
    alone = [Tagger().loss(head, Tagger().collate([row], targets.only([i]))) for i, row in enumerate(rows)]
    assert torch.allclose(loss, (7 * alone[0] + 2 * alone[1]) / 9)


def test_vectors_of_whole_texts_are_refused_with_a_tap_that_fits() -> None:
    head = Tagger().build(4, Targets(np.zeros(1), ("O", "B-X", "I-X")), {})
    with pytest.raises(InvalidInput, match=r"this head takes \[n, positions, 4\]") as caught:
        head(torch.zeros(2, 3, 7, 4))
    assert "--tap tokens" in (caught.value.fix or "")


# -------------------------------------------------------------------------------------- question answering
CONTEXT = "The tower is 324 metres tall."
WORDS = [None, "who", None, "The", "tower", "is", "324", "metres", "tall", ".", None]


def _asked() -> Mapping[str, Any]:
    return _context(CONTEXT, WORDS, asked=3)


def _answered(*cells: Any) -> Targets:
    return Reader().align(Reader().encode({"answer": list(cells)}), [_asked()] * len(cells))


@pytest.mark.parametrize(
    "cell, tokens",
    [
        ("324 metres", (6, 7)),
        ({"text": ["324"], "answer_start": [13]}, (6, 6)),
        ('{"text": ["tall", "tall."], "answer_start": [24, 24]}', (8, 8)),
        ({"text": "24 met", "answer_start": 14}, (6, 7)),
    ],
)
def test_an_answer_becomes_its_first_and_last_token(cell: Any, tokens: tuple[int, int]) -> None:
    """A token that is only partly in the answer is in it."""
    assert _answered(cell).values[0].tokens == tokens


@pytest.mark.parametrize("cell", ["", None, {"text": [], "answer_start": []}])
def test_no_answer_is_position_zero(cell: Any) -> None:
    assert _answered("324", cell).values[1].tokens == (0, 0)


def test_an_answer_that_was_cut_off_teaches_nothing() -> None:
    encoded = Reader().encode({"answer": ["tall", "324"]})
    cut = _context(CONTEXT, [*WORDS[:7], None], asked=3)
    targets = Reader().align(encoded, [cut, cut])
    assert [row.tokens for row in targets.values] == [(IGNORED, IGNORED), (6, 6)]
    rows = [np.zeros((8, 4), np.float32)] * 2
    head = Reader().build(4, targets, Reader().default_options())
    both = Reader().loss(head, Reader().collate(rows, targets))
    assert torch.equal(both, Reader().loss(head, Reader().collate(rows[1:], targets.only([1]))))


@pytest.mark.parametrize(
    "cell, message",
    [
        ("a bridge", "the answer of row 1, 'a bridge', does not stand in its context"),
        ({"text": ["324"], "answer_start": [3]}, "does not stand in its context"),
        ({"text": ["324"]}, "expected"),
        ("{broken", "is no JSON object"),
    ],
)
def test_answers_that_are_no_stretch_of_the_context_are_refused(cell: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        _answered(cell)


def test_outputs_become_a_stretch_of_the_context() -> None:
    """The best pair in order, within the context and not too long; the question's own tokens are out of the race."""
    spec = Reader().postprocess(Targets(np.zeros(0)), {"most_tokens": 3})
    raw = np.zeros((11, 2), np.float32)
    raw[1] = 50
    raw[6, 0], raw[7, 1], raw[3, 1] = 9, 8, 8.5
    answers = postprocess.apply(spec, [raw, raw[:1]], [_asked(), _context("", [None])])
    assert answers["answer"].tolist() == [b"324 metres", b""]
    assert (answers["start"].tolist(), answers["end"].tolist()) == ([13, -1], [23, -1])
    begins, ends = 1 / (1 + 7 * np.exp(-9)), np.exp(8) / (6 + np.exp(8) + np.exp(8.5))
    assert answers["score"][0] == pytest.approx(begins * ends, rel=1e-3)
    assert answers["score"][1] == pytest.approx(1.0)
    assert answers["lengths"].tolist() == [11, 1]


def test_an_answer_is_never_longer_than_asked_for() -> None:
    raw = np.zeros((11, 2), np.float32)
    raw[3, 0] = raw[8, 1] = 9
    spec = {"kind": "answer", "most_tokens": 2}
    (answer,) = postprocess.apply(spec, [raw], [_asked()])["answer"]
    assert len(answer.split()) <= 2


def test_a_reader_learns_to_find_answers_and_to_find_none() -> None:
    cells = ["324 metres", "tower", "", "tall"] * 4
    targets = _answered(*cells)
    meaning = []
    for first, last in (row.tokens for row in targets.values):
        row = [0] * 11
        row[first] = 1 if first != last else 3
        row[last] = 2 if first != last else 3
        meaning.append(row)
    rows = _features([_asked()] * 16, meaning)
    head = _trained(Reader(), rows, targets, 80)
    f1, exact = Reader().metrics(_outputs(head, rows), targets, 0)
    assert (f1.name, exact.name) == ("answer_f1", "exact_match")
    assert exact.value == 1.0
    assert f1.low <= f1.value <= f1.high


@pytest.mark.parametrize("most", [0, 1.5, "long", True])
def test_a_length_that_is_none_is_refused(most: Any) -> None:
    with pytest.raises(InvalidInput, match="most_tokens is"):
        Reader().build(4, Targets(np.zeros(0)), {"most_tokens": most})


def test_postprocessing_without_the_text_is_a_bug_and_says_so() -> None:
    with pytest.raises(TypeError, match="this is a bug"):
        postprocess.apply({"kind": "answer", "most_tokens": 2}, [np.zeros((3, 2), np.float32)])
