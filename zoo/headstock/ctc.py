"""Connectionist temporal classification decoding in numpy: greedy, and prefix beam search with an optional word scorer.

Graves et al., "Connectionist temporal classification: labelling unsegmented sequence data with recurrent neural
networks", ICML 2006 (the collapse of repeats and blanks; best path decoding). Hannun et al., "First-pass large
vocabulary continuous speech recognition using bi-directional recurrent DNNs", arXiv:1408.2873 (prefix beam search).

Everywhere `log_probs` is [frames, labels + 1], natural logarithms, the blank last; `alphabet` holds the labels' texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from headstock.errors import InvalidInput

Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

MAX_WIDTH = 4096
"""Widest beam."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """One reading of a row."""

    text: str
    frames: tuple[int, ...]
    """For each label of the text, the frame at which it was first read."""
    score: float
    """Natural logarithm of the probability of all alignments that were kept, plus the scorer's; 0 for certain."""


class WordScorer(Protocol):
    """A language model over words. States are the scorer's own and are never changed in place."""

    def start(self) -> Any:
        """The state before the first word."""

    def score(self, state: Any, word: str) -> tuple[Any, float]:
        """The state after `word`, and what the word adds to a transcript's score."""


def log_softmax(logits: Floats) -> Doubles:
    """Natural logarithms of the softmax over the last axis."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    result: Doubles = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def greedy(log_probs: Floats, alphabet: Sequence[str]) -> Transcript:
    """The likeliest label of every frame, repeats and blanks collapsed. Raises `InvalidInput`."""
    _check(log_probs, alphabet)
    best = log_probs.argmax(axis=1)
    starts = np.flatnonzero(np.diff(best, prepend=-1) != 0)
    kept = starts[best[starts] != len(alphabet)]
    text = "".join(alphabet[i] for i in best[kept].tolist())
    return Transcript(text, tuple(kept.tolist()), float(log_probs.max(axis=1).sum()) if len(best) else 0.0)


def beam_search(
    log_probs: Floats,
    alphabet: Sequence[str],
    *,
    width: int = 100,
    count: int = 1,
    scorer: WordScorer | None = None,
) -> list[Transcript]:
    """The `count` likeliest transcripts, best first, over all alignments that a beam of `width` prefixes keeps.

    With a `scorer` a word is scored when the space behind it is read, the last one at the end. Raises `InvalidInput`
    for a shape that does not fit the alphabet, NaN, or a width outside 1 to `MAX_WIDTH`.
    """
    _check(log_probs, alphabet)
    if not 1 <= width <= MAX_WIDTH or not 1 <= count <= width:
        raise InvalidInput(f"beam width {width} and count {count}; expected 1 <= count <= width <= {MAX_WIDTH}")
    if scorer is not None and " " not in alphabet:
        raise InvalidInput("a word scorer needs a space in the alphabet; without one there are no words")
    prefixes = _Prefixes(alphabet, scorer)
    beam = _Beam.start()
    for frame, row in enumerate(log_probs.astype(np.float64)):
        beam = _advance(beam, row, frame, width, prefixes)
    scores = beam.total + np.array([prefixes.last_word(node) for node in beam.nodes.tolist()])
    best = np.argsort(-scores, kind="stable")[:count]
    return [prefixes.transcript(int(beam.nodes[i]), float(scores[i])) for i in best]


def _check(log_probs: Floats, alphabet: Sequence[str]) -> None:
    if log_probs.ndim != 2 or log_probs.shape[1] != len(alphabet) + 1:
        raise InvalidInput(
            f"log probabilities have shape {list(log_probs.shape)}; expected [frames, {len(alphabet) + 1}]: "
            f"{len(alphabet)} labels and the blank"
        )
    if np.isnan(log_probs).any():
        raise InvalidInput("log probabilities hold NaN; expected numbers of at most 0")


class _Prefixes:
    """A tree of all prefixes that were ever in the beam: a node is an index, its parent a smaller one."""

    def __init__(self, alphabet: Sequence[str], scorer: WordScorer | None) -> None:
        self.alphabet = alphabet
        self.space = alphabet.index(" ") if scorer is not None else -1
        self._scorer = scorer
        self._parents, self._labels, self._frames = [-1], [-1], [-1]
        self._children: dict[tuple[int, int], int] = {}
        # Per node that ends a word: the scorer's state behind it. Per node: what a space behind it would add.
        self._states: dict[int, Any] = {0: scorer.start()} if scorer is not None else {}
        self._bonuses: dict[int, tuple[Any, float]] = {}

    def child(self, node: int, label: int, frame: int) -> int:
        """The prefix `node` with `label` behind it."""
        found = self._children.get((node, label))
        if found is None:
            found = self._children[node, label] = len(self._parents)
            self._parents.append(node)
            self._labels.append(label)
            self._frames.append(frame)
            if label == self.space:
                self._states[found] = self._space(node)[0]
        return found

    def bonus(self, node: int) -> float:
        """What the scorer adds when a space is read behind `node`."""
        return self._space(node)[1]

    def last_word(self, node: int) -> float:
        """What the scorer adds when the recording ends behind `node`."""
        return 0.0 if self._scorer is None else self._space(node)[1]

    def transcript(self, node: int, score: float) -> Transcript:
        """The prefix as text."""
        labels, frames = [], []
        while node:
            labels.append(self.alphabet[self._labels[node]])
            frames.append(self._frames[node])
            node = self._parents[node]
        return Transcript("".join(reversed(labels)), tuple(reversed(frames)), score)

    def _space(self, node: int) -> tuple[Any, float]:
        if node not in self._bonuses:
            letters, start = [], node
            while start and self._labels[start] != self.space:
                letters.append(self.alphabet[self._labels[start]])
                start = self._parents[start]
            state = self._states[start]
            # Two spaces in a row, or one at the start, end no word.
            if letters and self._scorer is not None:
                self._bonuses[node] = self._scorer.score(state, "".join(reversed(letters)))
            else:
                self._bonuses[node] = (state, 0.0)
        return self._bonuses[node]


@dataclass(frozen=True, slots=True)
class _Beam:
    """Parallel arrays over the prefixes that are alive."""

    nodes: Integers
    parents: Integers
    labels: Integers
    """Last label of each prefix; -1 for the empty one."""
    blank: Doubles
    """Logarithm of the probability of alignments that end with a blank."""
    other: Doubles
    """The same for those that end with the last label."""

    @classmethod
    def start(cls) -> _Beam:
        none = np.array([-1])
        return cls(np.array([0]), none, none, np.zeros(1), np.full(1, -np.inf))

    @property
    def total(self) -> Doubles:
        return np.logaddexp(self.blank, self.other)


def _advance(beam: _Beam, row: Doubles, frame: int, width: int, prefixes: _Prefixes) -> _Beam:
    """The beam after one more frame: every prefix stays as it is, and grows by every label."""
    blank = len(row) - 1
    labelled = beam.labels >= 0
    total = beam.total
    grown = total[:, None] + row[None, :blank]
    # A label read again without a blank between is the same label: only alignments that end with a blank grow by it.
    again = np.flatnonzero(labelled)
    grown[again, beam.labels[again]] = beam.blank[again] + row[beam.labels[again]]
    if prefixes.space >= 0:
        grown[:, prefixes.space] += [prefixes.bonus(node) for node in beam.nodes.tolist()]
    stay_blank = total + row[blank]
    stay_other = np.where(labelled, beam.other + row[np.maximum(beam.labels, 0)], -np.inf)
    _merge(beam, grown, stay_other)
    scores = np.concatenate([np.logaddexp(stay_blank, stay_other), grown.ravel()])
    kept = np.argpartition(-scores, width - 1)[:width] if len(scores) > width else np.arange(len(scores))
    kept = np.sort(kept[np.isfinite(scores[kept])])
    stay, new = kept[kept < len(total)], kept[kept >= len(total)] - len(total)
    if not len(kept):
        # Every label of this frame has probability zero: nothing can be read from it, so it is passed over.
        return beam
    sources, labels = np.divmod(new, blank)
    parents = beam.nodes[sources]
    nodes = [prefixes.child(p, label, frame) for p, label in zip(parents.tolist(), labels.tolist(), strict=True)]
    return _Beam(
        np.concatenate([beam.nodes[stay], np.array(nodes, np.int64)]),
        np.concatenate([beam.parents[stay], parents]),
        np.concatenate([beam.labels[stay], labels]),
        np.concatenate([stay_blank[stay], np.full(len(new), -np.inf)]),
        np.concatenate([stay_other[stay], grown.ravel()[new]]),
    )


def _merge(beam: _Beam, grown: Doubles, stay_other: Doubles) -> None:
    """Add what grows into a prefix that is alive already to that prefix, in place."""
    index = {node: i for i, node in enumerate(beam.nodes.tolist())}
    pairs = [(index[parent], i) for i, parent in enumerate(beam.parents.tolist()) if parent in index]
    if pairs:
        sources, targets = np.array(pairs).T
        labels = beam.labels[targets]
        stay_other[targets] = np.logaddexp(stay_other[targets], grown[sources, labels])
        grown[sources, labels] = -np.inf
