"""Marked texts as people write them: spans of characters, or one tag for each word; turned into spans of characters."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from headstock.errors import InvalidInput

_WORD = re.compile(r"\S+")
_TAG = re.compile(r"([BIES])-(\S+)")


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A stretch of a text with a type."""

    start: int
    """First character."""
    end: int
    """One behind the last character."""
    label: str


@dataclass(frozen=True, slots=True)
class Marks:
    """One cell: spans, or tags of the words between spaces (for which the text is needed)."""

    spans: tuple[Mark, ...] = ()
    tags: tuple[str, ...] = ()

    @property
    def labels(self) -> set[str]:
        """Types that occur."""
        return {span.label for span in self.spans} | {tag[2:] for tag in self.tags if tag != "O"}


def read_marks(cell: Any, row: int) -> Marks:
    """What is marked in row number `row` (from 1).

    A cell is a list, or JSON of one, of `{"start", "end", "label"}` or `[start, end, label]` in characters, `end` one
    behind the last; or tags `O`, `B-TYPE`, `I-TYPE` (also `E-` and `S-`) of the text's words, as a list or between
    spaces. An empty cell marks nothing. Raises `InvalidInput`.
    """
    cell = cell.tolist() if hasattr(cell, "tolist") else cell
    if isinstance(cell, str):
        cell = _parsed(cell, row) if cell.lstrip().startswith("[") else cell.split()
    items = [] if cell is None else list(cell)
    if items and all(isinstance(item, str) for item in items):
        return Marks(tags=tuple(_tag(item, row) for item in items))
    spans = sorted(_span(item, row) for item in items)
    for before, after in pairwise(spans):
        if after.start < before.end:
            raise InvalidInput(
                f"the spans of row {row} overlap: {before.start} to {before.end} and {after.start} to {after.end}; "
                "a token can be of one type only"
            )
    return Marks(spans=tuple(spans))


def spans_in(marks: Marks, text: str, row: int) -> tuple[Mark, ...]:
    """The marked stretches of `text`. Raises `InvalidInput` where they do not fit it."""
    if not marks.tags:
        for span in marks.spans:
            if span.end > len(text):
                raise InvalidInput(
                    f"row {row} marks characters {span.start} to {span.end} of a text of {len(text)} characters"
                )
        return marks.spans
    words = [match.span() for match in _WORD.finditer(text)]
    if len(words) != len(marks.tags):
        raise InvalidInput(
            f"row {row} has {len(marks.tags)} tags for {len(words)} words; expected a tag for each word between spaces"
        )
    return _joined(words, marks.tags)


def _joined(words: Sequence[tuple[int, int]], tags: Sequence[str]) -> tuple[Mark, ...]:
    found: list[Mark] = []
    open_label = ""
    for (start, end), tag in zip(words, tags, strict=True):
        label = "" if tag == "O" else tag[2:]
        if label and label == open_label and tag[0] in "IE":
            found[-1] = Mark(found[-1].start, end, label)
        elif label:
            found.append(Mark(start, end, label))
        open_label = label
    return tuple(found)


def _parsed(cell: str, row: int) -> Any:
    try:
        return json.loads(cell)
    except ValueError as error:
        raise InvalidInput(f"the spans of row {row} are no JSON list: {error}") from error


def _tag(item: str, row: int) -> str:
    if item != "O" and not _TAG.fullmatch(item):
        raise InvalidInput(f"row {row} has the tag {item!r}; expected 'O', 'B-TYPE' or 'I-TYPE'")
    return item


def _span(item: Any, row: int) -> Mark:
    values = [item.get(key) for key in ("start", "end", "label")] if isinstance(item, dict) else item
    if isinstance(values, (list, tuple)) and len(values) == 3:
        start, end, label = values
        if type(start) is int and type(end) is int and 0 <= start < end and isinstance(label, str) and label.strip():
            return Mark(start, end, label.strip())
    raise InvalidInput(
        f'row {row} has the span {item!r}; expected {{"start": 0, "end": 4, "label": "TYPE"}} with start before end'
    )
