"""CoNLL columns: one token and its BIO tag per line, a blank line between sentences."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from headstock.data.formats.reading import Fault, Rows, decode

_TAG = re.compile(r"O|[BIESLU]-\S+")
_BEGINS, _ENDS = "BSU", "ESLU"


@dataclass(slots=True)
class _Sentence:
    place: int
    tokens: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)


def read(name: str, data: bytes) -> Rows:
    """One row per sentence: `text`, its tokens with a space between them, and `spans`.

    A line's first column is the token and its last the tag: `O`, `B-TYPE`, `I-TYPE` (also `E-`, `L-`, `S-`, `U-`)."""
    sentences: list[_Sentence] = []
    current: _Sentence | None = None
    faults: list[Fault] = []
    for number, line in enumerate(decode(name, data).split("\n"), start=1):
        parts = line.split()
        if not parts or parts[0] == "-DOCSTART-":
            current = None
            continue
        if not _TAG.fullmatch(parts[-1]) or len(parts) < 2:
            # `# sent_id = 4` is a comment; `# O` is the token "#".
            if line.startswith("#"):
                continue
            why = f"{line.strip()[:80]!r} does not end in a tag; "
            faults.append(Fault(number, why + "expected a token and O, B-TYPE or I-TYPE, with spaces or a tab between"))
            continue
        if current is None:
            current = _Sentence(number)
            sentences.append(current)
        current.tokens.append(parts[0])
        current.tags.append(parts[-1])
    columns: dict[str, list[Any]] = {
        "text": [" ".join(s.tokens) for s in sentences],
        "spans": [_spans(s.tokens, s.tags) for s in sentences],
    }
    return Rows(columns, [s.place for s in sentences], faults)


def _spans(tokens: list[str], tags: list[str]) -> list[dict[str, Any]]:
    """Tags as `{"start", "end", "label"}` in characters of the joined tokens; an I that continues nothing begins."""
    spans: list[dict[str, Any]] = []
    start, goes_on = 0, False
    for token, tag in zip(tokens, tags, strict=True):
        end = start + len(token)
        position, _, label = tag.partition("-")
        if tag == "O":
            goes_on = False
        else:
            if goes_on and position not in _BEGINS and spans[-1]["label"] == label:
                spans[-1]["end"] = end
            else:
                spans.append({"start": start, "end": end, "label": label})
            goes_on = position not in _ENDS
        start = end + 1
    return spans
