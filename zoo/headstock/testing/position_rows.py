"""Made-up data for heads on tokens, frames and maps: features that say what stands where, and columns to match."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headstock.testing.cases import HeadRows

ROWS = 24
WIDTH = 8

_NAMES, _OTHERS = ("anna", "bob", "eve"), ("we", "saw", "the", "late")
_SOUNDS = "abc "


def tagged_rows(random: np.random.Generator) -> HeadRows:
    """Texts of three to eight words in which every name is a span `PER`."""
    texts = [_words(random, (*_NAMES, *_OTHERS)) for _ in range(ROWS)]
    spans = [[[start, end, "PER"] for word, (start, end) in _placed(words) if word in _NAMES] for words in texts]
    features = [_features(random, [_meaning(word) for word in words]) for words in texts]
    return HeadRows(features, {"spans": spans}, [_context(words) for words in texts])


def answer_rows(random: np.random.Generator) -> HeadRows:
    """Texts behind a token that is not theirs; the answer is the only name, where there is one."""
    texts = [_words(random, _OTHERS) for _ in range(ROWS)]
    answers = []
    for row, words in enumerate(texts):
        answers.append(_NAMES[row % 3] if row % 4 else "")
        if answers[-1]:
            words[int(random.integers(len(words)))] = answers[-1]
    features = []
    for words, answer in zip(texts, answers, strict=True):
        features.append(_features(random, [7 if answer else 6, *map(_meaning, words)]))
    return HeadRows(features, {"answer": answers}, [_context(words, before=1) for words in texts])


def spoken_rows(random: np.random.Generator) -> HeadRows:
    """Frames that each sound like one letter, or like silence."""
    said = ["".join(random.choice(list("abc"), 3)) + " " + "".join(random.choice(list("abc"), 2)) for _ in range(ROWS)]
    features = []
    for text in said:
        sounds = [7]
        for letter in text:
            sounds += [_SOUNDS.index(letter)] * int(random.integers(2, 4)) + [7]
        features.append(_features(random, sounds))
    return HeadRows(features, {"transcript": said})


def inspected_rows(random: np.random.Generator) -> HeadRows:
    """Maps [3, 4] of which every fourth has a place unlike all others."""
    means = random.standard_normal((3, 4, WIDTH))
    maps = 3.0 * means + 0.2 * random.standard_normal((ROWS, 3, 4, WIDTH))
    maps[::4, 1, 2] += 4.0
    labels = ["scratch" if row % 4 == 0 else "good" for row in range(ROWS)]
    return HeadRows(maps.astype(np.float32), {"label": labels})


def _words(random: np.random.Generator, vocabulary: Sequence[str]) -> list[str]:
    return [str(word) for word in random.choice(list(vocabulary), int(random.integers(3, 9)))]


def _placed(words: Sequence[str]) -> list[tuple[str, tuple[int, int]]]:
    placed, at = [], 0
    for word in words:
        placed.append((word, (at, at + len(word))))
        at += len(word) + 1
    return placed


def _meaning(word: str) -> int:
    return 0 if word in _NAMES else 1 + _OTHERS.index(word)


def _features(random: np.random.Generator, meaning: Sequence[int]) -> npt.NDArray[np.float32]:
    noise = 0.3 * random.standard_normal((len(meaning), WIDTH))
    return (2.0 * np.eye(WIDTH)[list(meaning)] + noise).astype(np.float32)


def _context(words: Sequence[str], before: int = 0) -> dict[str, Any]:
    offsets = [(0, 0)] * before + [place for _, place in _placed(words)]
    numbers = [-1] * before + list(range(len(words)))
    return {
        "text": " ".join(words),
        "offsets": np.array(offsets, np.int32),
        "words": np.array(numbers, np.int32),
    }
