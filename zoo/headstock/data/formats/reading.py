"""What readers share: their result and the decoding of text files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headstock.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Fault:
    """A line that cannot be read."""

    place: int
    """Its number, counted from 1."""
    why: str
    fix: str | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """What a reader found in a file."""

    columns: Mapping[str, Sequence[Any]]
    """Column name to one value per row."""
    places: Sequence[int]
    """Where each row begins, counted from 1."""
    faults: Sequence[Fault] = ()
    """Lines that make no row."""


def decode(name: str, data: bytes) -> str:
    """UTF-8 text without its byte order mark; raises `InvalidInput` naming line and byte."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidInput(
            f"{name!r} is not UTF-8: line {line} holds the byte 0x{data[error.start]:02x}",
            fix=f"iconv -f LATIN1 -t UTF-8 {name} > utf8-{name}   (or whatever encoding it was saved in)",
        ) from error
