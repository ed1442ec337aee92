"""Texts cut into passages that a backbone reads as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from headstock.data.inputs import RawInputs
from headstock.digest import digest_bytes
from headstock.preprocess import Preprocessor

_CHARACTERS = 20_000
"""Longest piece that is tokenised to see whether it fits; far more than any backbone reads."""


class Passages(RawInputs):
    """Pieces of texts, in order."""

    block = 4096

    def __init__(self, texts: Sequence[str], owners: Sequence[int], inputs: RawInputs) -> None:
        """`owners` are the rows of `inputs` that the `texts` are of."""
        self._texts, self._inputs = texts, inputs
        self.owners = owners
        self.samples = tuple(digest_bytes(text.encode()) for text in texts)

    def read(self, rows: Sequence[int]) -> tuple[list[Any], ...]:
        """The passages."""
        return ([self._texts[row] for row in rows],)

    def name(self, row: int) -> str:
        """The text that it is of."""
        return f"a passage of {self._inputs.name(self.owners[row])}"


def cut(preprocessor: Preprocessor, inputs: RawInputs) -> Passages:
    """Every text in as few halvings as make it fit, each between two words."""
    texts: list[str] = []
    owners: list[int] = []
    for start in range(0, len(inputs), inputs.block):
        rows = range(start, min(start + inputs.block, len(inputs)))
        (block,) = inputs.read(rows)
        for row, text in zip(rows, block, strict=True):
            pieces = list(_fitting(preprocessor, text))
            texts += pieces
            owners += [row] * len(pieces)
    return Passages(texts, owners, inputs)


def _fitting(preprocessor: Preprocessor, text: str) -> Iterator[str]:
    waiting = [text.strip()]
    while waiting:
        piece = waiting.pop()
        if len(piece) <= _CHARACTERS and not preprocessor.rows([piece])[0].truncated:
            yield piece
            continue
        halves = _halves(piece)
        if halves is None:
            # One endless word: its beginning is all that a backbone will ever see of it.
            yield piece[:_CHARACTERS]
            continue
        waiting += [halves[1], halves[0]]


def _halves(text: str) -> tuple[str, str] | None:
    """Two parts with the space that is nearest to the middle between them; None without any space."""
    middle = len(text) // 2
    places = [text.rfind(" ", 1, middle + 1), text.find(" ", middle)]
    found = [place for place in places if place > 0]
    if not found:
        return None
    place = min(found, key=lambda one: abs(one - middle))
    first, second = text[:place].strip(), text[place:].strip()
    return (first, second) if first and second else None
