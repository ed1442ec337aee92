"""Figures of text that was read, heard or found: error rates, exact match, overlap of words, spans."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Collection, Hashable, Sequence

import numpy as np

from headstock.hookspecs import Metric
from headstock.metrics.intervals import Floats, bootstrap, bootstrap_mean, divided, ratio, some_rows, wilson

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def edit_distance(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """Fewest insertions, deletions and substitutions that turn one into the other (Levenshtein 1966)."""
    numbers: dict[Hashable, int] = {}
    left = [numbers.setdefault(item, len(numbers)) for item in one]
    right = np.array([numbers.setdefault(item, len(numbers)) for item in other], np.int64)
    places = np.arange(len(right) + 1)
    row = places.copy()
    for done, item in enumerate(left, 1):
        after = np.empty_like(row)
        after[0] = done
        after[1:] = np.minimum(row[1:] + 1, row[:-1] + (right != item))
        # Insertions run along the row: the cheapest start plus the way from there, for all places at once.
        row = np.minimum.accumulate(after - places) + places
    return int(row[-1])


def transcription(heard: Sequence[str], said: Sequence[str], seed: int) -> tuple[Metric, Metric, Metric]:
    """`character_accuracy`, `wer` and `cer`: edits over all characters or words that were said, spaces collapsed.

    `character_accuracy` is 1 minus `cer`, and below 0 where more is wrong than was said.
    """
    pairs = [(" ".join(h.split()), " ".join(s.split())) for h, s in zip(heard, said, strict=True)]
    characters = np.array([edit_distance(h, s) for h, s in pairs])
    words = np.array([edit_distance(h.split(), s.split()) for h, s in pairs])
    lengths = np.array([len(s) for _, s in pairs])
    cer = ratio("cer", characters, lengths, seed)
    right = Metric("character_accuracy", 1.0 - cer.value, 1.0 - cer.high, 1.0 - cer.low, cer.method)
    return right, ratio("wer", words, np.array([len(s.split()) for _, s in pairs]), seed), cer


def spans(
    found: Sequence[Collection[Hashable]], true: Sequence[Collection[Hashable]], seed: int
) -> tuple[Metric, Metric, Metric]:
    """`entity_f1`, `entity_precision` and `entity_recall` over all rows; a span counts if it is found exactly."""
    counts = np.array(
        [(len(set(f) & set(t)), len(set(f)), len(set(t))) for f, t in zip(found, true, strict=True)],
        np.float64,
    ).reshape(-1, 3)
    n = some_rows(counts)

    def f1(weights: Floats) -> Floats:
        sums = weights @ counts
        return divided(2 * sums[:, 0], sums[:, 1] + sums[:, 2])

    return (
        bootstrap("entity_f1", f1, n, seed),
        ratio("entity_precision", counts[:, 0], counts[:, 1], seed),
        ratio("entity_recall", counts[:, 0], counts[:, 2], seed),
    )


def answers(found: Sequence[str], true: Sequence[Sequence[str]], seed: int) -> tuple[Metric, Metric]:
    """`answer_f1` and `exact_match` as SQuAD defines them: against the best of each row's `true` answers.

    Case, punctuation and English articles do not count. A row without true answers is right when nothing was found.
    """
    scores = [
        max(((_exact(f, t), _overlap(f, t)) for t in options or [""]), key=lambda pair: (pair[1], pair[0]))
        for f, options in zip(found, true, strict=True)
    ]
    exact = [pair[0] for pair in scores]
    f1 = bootstrap_mean("answer_f1", np.array([pair[1] for pair in scores], np.float64), seed)
    return f1, wilson("exact_match", sum(exact), len(exact))


def _exact(found: str, true: str) -> bool:
    return _words(found) == _words(true)


def _overlap(found: str, true: str) -> float:
    one, other = _words(found), _words(true)
    if not one or not other:
        return float(one == other)
    shared = sum((Counter(one) & Counter(other)).values())
    return 2 * shared / (len(one) + len(other))


def _words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()
