"""What readers share: their result and the decoding of text files."""

from __future__ import annotations

import codecs
import shlex
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


# A spreadsheet's "Unicode text" is UTF-16; its mark leaves no doubt. The longer mark begins like the shorter.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode(name: str, data: bytes) -> str:
    """The text, without its byte order mark: UTF-8, or UTF-16 and UTF-32 where a mark says so.

    Raises `InvalidInput` naming the line for bytes of another encoding and for NUL characters.
    """
    encoding = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), "utf-8-sig")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-8-sig":
            raise _not_utf8(name, data) from error
        line = data[: error.start].decode(encoding, errors="replace").count("\n") + 1
        raise InvalidInput(
            f"{name!r} is damaged {encoding.upper()}: line {line} ends within a character", fix="save it as UTF-8"
        ) from error
    if "\0" in text:
        raise _with_nul(name, text)
    return text


def _not_utf8(name: str, data: bytes) -> InvalidInput:
    """Which lines, and whether converting the whole file would mend it or spoil the others."""
    wrong: list[tuple[int, int]] = []
    right = 0
    for number, line in enumerate(data.split(b"\n"), start=1):
        try:
            line.decode("utf-8")
            right += not line.isascii()
        except UnicodeDecodeError as error:
            wrong.append((number, line[error.start]))
    message = f"{name!r} is not UTF-8: line {wrong[0][0]} holds the byte 0x{wrong[0][1]:02x}"
    if len(wrong) > 1:
        message += f", and {len(wrong) - 1} more such lines follow, e.g. line {wrong[1][0]}"
    if right:
        return InvalidInput(
            f"{message}; {right} other lines are UTF-8, so the file mixes encodings",
            fix="write those lines again as UTF-8; converting the whole file would spoil the others",
        )
    return InvalidInput(message, fix=f"{_conversion(name, 'LATIN1')}   (or whatever encoding it was saved in)")


def _with_nul(name: str, text: str) -> InvalidInput:
    line = text.count("\n", 0, text.index("\0")) + 1
    if text.count("\0") * 4 > len(text):
        order = "BE" if text.startswith("\0") else "LE"
        return InvalidInput(
            f"{name!r} is not UTF-8: every other byte is NUL, as in UTF-16 without a byte order mark",
            fix=_conversion(name, f"UTF-16{order}"),
        )
    clean = shlex.quote(f"clean-{name}")
    return InvalidInput(
        f"{name!r} line {line} holds a NUL character, which is no text",
        fix=f"tr -d '\\0' < {shlex.quote(name)} > {clean}",
    )


def _conversion(name: str, encoding: str) -> str:
    return f"iconv -f {encoding} -t UTF-8 {shlex.quote(name)} > {shlex.quote(f'utf8-{name}')}"
