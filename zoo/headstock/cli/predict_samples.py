"""What a person typed, as the raw input that a model declares: texts, files, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from headstock.errors import InvalidInput

FILES = ("image", "audio")
"""Raw inputs that are typed as paths."""
_MOST_ROWS = 128
_MOST_BYTES = 1 << 20
"""Bytes of one request unless a single sample has more; servers limit both."""

Sample = tuple[str | bytes, ...]
"""One value for each raw input."""


def typed(arguments: Sequence[str]) -> list[str]:
    """The samples as typed; `-` alone stands for the lines of standard input. Raises `InvalidInput` for none."""
    if tuple(arguments) == ("-",):
        arguments = [line.rstrip("\n") for line in sys.stdin if line.strip()]
    if not arguments:
        raise InvalidInput(
            "there is nothing to ask about", fix='headstock predict NAME "a text" or FILE, or - for standard input'
        )
    return list(arguments)


def chunks(typed: Sequence[str], inputs: Sequence[str]) -> Iterator[tuple[Sequence[str], list[Sample]]]:
    """The samples in pieces that fit memory and a request, each with what was typed for it.

    Files are read when their piece's turn comes. Raises `InvalidInput` naming what cannot be read.
    """
    start, size, piece = 0, 0, list[Sample]()
    for index, text in enumerate(typed):
        sample = _sample(text, inputs)
        bytes_ = sum(map(len, sample))
        if piece and (len(piece) == _MOST_ROWS or size + bytes_ > _MOST_BYTES):
            yield typed[start:index], piece
            start, size, piece = index, 0, []
        piece.append(sample)
        size += bytes_
    yield typed[start:], piece


def _sample(text: str, inputs: Sequence[str]) -> Sample:
    if len(inputs) > 1:
        value = _json(text, inputs)
        return tuple(str(value[name]) for name in inputs)
    if inputs[0] == "row":
        _json(text, ())
    return (_read(text, inputs[0]),) if inputs[0] in FILES else (text,)


def _read(path: str, kind: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a path"
        raise InvalidInput(
            f"cannot read {path[:200]!r}: {why}; this model reads {kind} files", fix="headstock predict NAME FILE..."
        ) from error


def _json(text: str, keys: Sequence[str]) -> Mapping[str, object]:
    expected = ", ".join(f'"{key}": "..."' for key in keys or ("COLUMN",))
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{text[:80]!r} is not JSON: {error}", fix=f"'{{{expected}}}'") from error
    if not isinstance(value, dict) or any(key not in value for key in keys):
        raise InvalidInput(f"{text[:80]!r} does not fit this model; expected a JSON object", fix=f"'{{{expected}}}'")
    return value
