"""Decoding of connectionist temporal classification: against every alignment written out, and by hand."""

from __future__ import annotations

import itertools
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstock.ctc import beam_search, greedy, log_softmax
from headstock.ctc_kenlm import KenlmScorer
from headstock.errors import FailedPrecondition, InvalidInput

ALPHABET = ("a", "b", " ")


def random_log_probs(frames: int, seed: int, labels: int = 3, sharpness: float = 2.0) -> np.ndarray:
    logits = sharpness * np.random.default_rng([3, seed]).standard_normal((frames, labels + 1))
    return log_softmax(logits.astype(np.float32))


def collapse(path: tuple[int, ...], blank: int) -> tuple[int, ...]:
    return tuple(label for label, _ in itertools.groupby(path) if label != blank)


def by_enumeration(log_probs: np.ndarray) -> dict[str, float]:
    """Probability of every text: the sum over all its alignments."""
    frames, classes = log_probs.shape
    found: dict[str, float] = {}
    for path in itertools.product(range(classes), repeat=frames):
        text = "".join(ALPHABET[i] for i in collapse(path, classes - 1))
        found[text] = found.get(text, 0.0) + math.exp(sum(log_probs[t, label] for t, label in enumerate(path)))
    return found


@pytest.mark.parametrize("seed", range(8))
def test_a_wide_beam_finds_every_text_with_its_exact_probability(seed: int) -> None:
    log_probs = random_log_probs(5, seed)
    expected = sorted(by_enumeration(log_probs).items(), key=lambda item: -item[1])
    found = beam_search(log_probs, ALPHABET, width=2000, count=len(expected))
    assert [t.text for t in found] == [text for text, _ in expected]
    assert np.allclose([math.exp(t.score) for t in found], [p for _, p in expected], rtol=1e-9)


def test_summed_alignments_beat_the_single_best_path() -> None:
    """The classic case: no frame prefers `a`, but most of the probability reads it."""
    log_probs = np.log(np.array([[0.4, 0.0001, 0.0001, 0.5998], [0.4, 0.0001, 0.0001, 0.5998]]))
    assert greedy(log_probs, ALPHABET).text == ""
    assert beam_search(log_probs, ALPHABET)[0].text == "a"


def test_greedy_collapses_repeats_but_not_across_a_blank() -> None:
    path = [0, 0, 3, 0, 1, 1, 2, 3, 3, 2]
    log_probs = np.full((len(path), 4), -10.0)
    log_probs[np.arange(len(path)), path] = 0.0
    transcript = greedy(log_probs, ALPHABET)
    assert transcript.text == "aab  "
    assert transcript.frames == (0, 3, 4, 6, 9)
    assert beam_search(log_probs, ALPHABET, width=20)[0].text == "aab  "


def test_a_narrow_beam_is_never_better_than_a_wide_one() -> None:
    log_probs = random_log_probs(40, 1, sharpness=1.0)
    scores = [beam_search(log_probs, ALPHABET, width=width)[0].score for width in (1, 4, 16, 64, 256)]
    assert scores == sorted(scores)


def test_impossible_labels_are_never_read() -> None:
    log_probs = random_log_probs(6, 2)
    log_probs[:, 1] = -np.inf
    assert all("b" not in t.text for t in beam_search(log_probs, ALPHABET, width=50, count=20))


def test_nothing_heard_is_an_empty_text() -> None:
    empty = np.zeros((0, 4))
    assert greedy(empty, ALPHABET).text == beam_search(empty, ALPHABET)[0].text == ""
    assert beam_search(empty, ALPHABET)[0].score == 0.0


@pytest.mark.parametrize(
    "log_probs, options, expected",
    [
        (np.zeros((4, 3)), {}, r"\[4, 3\]; expected \[frames, 4\]"),
        (np.zeros(4), {}, r"\[4\]"),
        (np.full((4, 4), np.nan), {}, "NaN"),
        (np.zeros((4, 4)), {"width": 0}, "width 0"),
        (np.zeros((4, 4)), {"width": 2, "count": 3}, "count 3"),
    ],
)
def test_what_cannot_be_decoded_is_refused(log_probs: np.ndarray, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(InvalidInput, match=expected):
        beam_search(log_probs, ALPHABET, **options)


# ---------------------------------------------------------------------------------------------- scorers
class Dictionary:
    """Likes some words; its state is the words so far, so that a test can see what it was asked."""

    def __init__(self, liked: dict[str, float], otherwise: float) -> None:
        self.liked, self.otherwise = liked, otherwise
        self.asked: list[tuple[tuple[str, ...], str]] = []

    def start(self) -> tuple[str, ...]:
        return ()

    def score(self, state: tuple[str, ...], word: str) -> tuple[tuple[str, ...], float]:
        self.asked.append((state, word))
        return (*state, word), self.liked.get(word, self.otherwise)


def test_a_scorer_moves_the_answer_to_words_it_knows() -> None:
    log_probs = log_softmax(np.array([[2.0, 1.9, -5, -5], [-5, -5, 3, -5], [1.9, 2.0, -5, -5]], np.float32))
    assert beam_search(log_probs, ALPHABET)[0].text == "a b"
    scorer = Dictionary({"b": 0.0, "a": -3.0}, -10.0)
    assert beam_search(log_probs, ALPHABET, scorer=scorer)[0].text == "b b"
    assert ((), "b") in scorer.asked
    assert (("b",), "b") in scorer.asked


def test_a_scored_text_has_the_score_of_its_alignments_and_of_its_words() -> None:
    log_probs = random_log_probs(5, 4)
    weights = {"a": -0.5, "b": -0.25}
    scorer = Dictionary(weights, -2.0)
    expected = {}
    for text, probability in by_enumeration(log_probs).items():
        words = [word for word in text.split(" ") if word]
        expected[text] = math.log(probability) + sum(weights.get(word, -2.0) for word in words)
    found = beam_search(log_probs, ALPHABET, width=2000, count=len(expected), scorer=scorer)
    assert {t.text for t in found} == set(expected)
    assert all(abs(t.score - expected[t.text]) < 1e-9 for t in found)


def test_a_scorer_without_spaces_in_the_alphabet_is_refused() -> None:
    with pytest.raises(InvalidInput, match="space"):
        beam_search(np.zeros((2, 3)), ("a", "b"), scorer=Dictionary({}, 0.0))


ARPA = """\\data\\
ngram 1=5
ngram 2=2

\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.3
-1.0\t</s>
-0.9\ta\t-0.2
-0.7\tb\t-0.1

\\2-grams:
-0.1\ta b
-0.4\t<s> a

\\end\\
"""


def test_an_n_gram_model_scores_words_in_their_context(tmp_path: Path) -> None:
    pytest.importorskip("kenlm", reason="the optional package kenlm is not installed")
    (tmp_path / "tiny.arpa").write_text(ARPA)
    scorer = KenlmScorer(tmp_path / "tiny.arpa", alpha=0.5, beta=0.25)
    state, first = scorer.score(scorer.start(), "a")
    _, second = scorer.score(state, "b")
    assert first == pytest.approx(0.5 * -0.4 * math.log(10) + 0.25, abs=1e-5)
    assert second == pytest.approx(0.5 * -0.1 * math.log(10) + 0.25, abs=1e-5)
    with pytest.raises(InvalidInput, match=r"none\.arpa"):
        KenlmScorer(tmp_path / "none.arpa")


def test_a_missing_n_gram_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(FailedPrecondition, match="pip install kenlm"):
        KenlmScorer(tmp_path / "tiny.arpa")
