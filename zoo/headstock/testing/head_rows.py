"""Made-up data that any sensible head of its task learns, and data that it must refuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstock.testing.cases import HeadRows

if TYPE_CHECKING:
    from headstock.hookspecs import HeadType

Floats = npt.NDArray[np.float32]
Random = np.random.Generator

ROWS, CLASSES = 96, ("apple", "pear", "quince")
_WORDS = {"O": ("sees", "likes", "and", "hears"), "B-PERSON": ("anna", "berta"), "B-PLACE": ("oslo", "paris")}
_SAID = ("abba", "cab", "back", "abc")
_REFUSED: Mapping[str, Any] = {"target": "many", "labels": "", "spans": "", "answer": "", "transcript": ""}


def rows_for(head_type: HeadType, width: int) -> Callable[[Random], HeadRows]:
    """Rows that fit the head type's task; of a task that is not known, one vector per row in three classes."""
    known: Mapping[str, Callable[[Random, int], HeadRows]] = {
        "token-classification": _marked,
        "question-answering": _answered,
        "speech-recognition": _spoken,
        "anomaly-detection": _inspected,
    }
    made = known.get(head_type.task)
    return lambda random: made(random, width) if made else _separable(random, width, head_type.columns)


def refused_by(head_type: HeadType) -> Mapping[str, Sequence[Any]]:
    """Eight rows that can train no head: one class, nothing marked, no number, nothing normal."""
    same = "broken" if head_type.task == "anomaly-detection" else "same"
    return {role: [_REFUSED.get(role, same)] * 8 for role in head_type.columns}


def _separable(random: Random, width: int, columns: Sequence[str]) -> HeadRows:
    """Rows [96, width], each near its class's centre.

    A column `target` holds numbers that follow the first feature, `labels` sets of classes, any other the class.
    """
    classes = np.arange(ROWS) % len(CLASSES)
    features = _near(random, random.standard_normal((len(CLASSES), width)), classes)
    values: Mapping[str, Sequence[Any]] = {
        "target": [round(float(value), 3) for value in 10.0 + 2.0 * features[:, 0]],
        "labels": [[CLASSES[c], "sour"] if c else [CLASSES[c]] for c in classes],
    }
    names = [CLASSES[c] for c in classes]
    return HeadRows(features, {role: values.get(role, names) for role in columns})


def _near(random: Random, centres: npt.NDArray[np.float64], classes: npt.NDArray[Any]) -> Floats:
    noise = random.standard_normal((len(classes), centres.shape[1]))
    near: Floats = (3.0 * centres[classes] + 0.7 * noise + 0.5).astype(np.float32)
    return near


def _marked(random: Random, width: int) -> HeadRows:
    """Texts of three to six words, a token each, some of them names."""
    centres = random.standard_normal((len(_WORDS), width))
    features, cells, contexts = [], [], []
    for _ in range(48):
        classes = random.integers(0, len(_WORDS), random.integers(3, 7))
        classes[0] = 1
        tags = [list(_WORDS)[c] for c in classes]
        features.append(_near(random, centres, classes))
        cells.append(" ".join(tags))
        contexts.append(_context([str(random.choice(_WORDS[tag])) for tag in tags]))
    return HeadRows(features, {"spans": cells}, contexts)


def _answered(random: Random, width: int) -> HeadRows:
    """Contexts of four to seven words behind one token of the question; one word is the answer."""
    centres = random.standard_normal((3, width))
    features, contexts = [], []
    for _ in range(48):
        size = int(random.integers(4, 8))
        answer = int(random.integers(0, size))
        classes = np.array([2, *(int(i == answer) for i in range(size))])
        features.append(_near(random, centres, classes))
        contexts.append(_context(["gold" if i == answer else f"w{i}" for i in range(size)], before=1))
    return HeadRows(features, {"answer": ["gold"] * len(features)}, contexts)


def _context(words: Sequence[str], before: int = 0) -> Mapping[str, Any]:
    """What a preprocessor says of a text whose tokens are its words, behind `before` tokens that are not of it."""
    ends = np.cumsum([len(word) + 1 for word in words]) - 1
    starts = ends - [len(word) for word in words]
    own = np.stack([starts, ends], axis=1)
    offsets = np.concatenate([np.zeros((before, 2)), own]).astype(np.int32)
    numbers = np.array([-1] * before + list(range(len(words))), np.int32)
    return {"text": " ".join(words), "offsets": offsets, "words": numbers}


def _spoken(random: Random, width: int) -> HeadRows:
    """Recordings in which every letter lasts two frames and is followed by a quiet one."""
    letters = sorted(set("".join(_SAID)))
    centres = random.standard_normal((len(letters) + 1, width))
    said = [_SAID[i % len(_SAID)] for i in range(32)]
    features = [
        _near(random, centres, np.array([frame for c in text for frame in (*[letters.index(c)] * 2, len(letters))]))
        for text in said
    ]
    return HeadRows(features, {"transcript": said})


def _inspected(random: Random, width: int) -> HeadRows:
    """Feature maps [48, 4, 4, width]; every third has one place that is unlike all others."""
    features = 0.5 * random.standard_normal((48, 4, 4, width)) + random.standard_normal(width)
    broken = np.arange(48) % 3 == 2
    features[broken, 1, 2] += 6.0
    return HeadRows(features.astype(np.float32), {"label": ["broken" if b else "good" for b in broken]})
