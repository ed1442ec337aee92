"""Raw input as a head needs it: anything the backbone reads, a text that answers point into, or two texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headstock.errors import InvalidInput, Unsupported
from headstock.preprocess.spec import Preprocessor, Row, TextReader
from headstock.records import Reads, TensorSpec

PAIR = ("question", "context")
"""Inputs of a head that reads pairs; the answer points into the second."""


def raw_inputs(preprocessor: Preprocessor, reads: Reads) -> tuple[TensorSpec, ...]:
    """The raw inputs as the wire sees them, each BYTES [-1]."""
    if reads == "pair":
        return tuple(TensorSpec(name, "BYTES", (-1,)) for name in PAIR)
    return (preprocessor.raw_input,)


def read_rows(preprocessor: Preprocessor, reads: Reads, raw: Sequence[Sequence[Any]]) -> list[Row]:
    """One row per sample; `raw` holds one sequence per raw input, equally long. Raises what the preprocessor raises."""
    if reads == "any":
        return preprocessor.rows(raw[0])
    reader = text_reader(preprocessor)
    if reads == "text":
        return reader.rows_with_text(raw[0])
    if len(raw[0]) != len(raw[1]):
        raise InvalidInput(f"there are {len(raw[0])} {PAIR[0]}s and {len(raw[1])} {PAIR[1]}s; expected equal numbers")
    return reader.rows_of_pairs(raw[0], raw[1])


def text_reader(preprocessor: Preprocessor) -> TextReader:
    """The preprocessor as one that can point into texts. Raises `Unsupported` if it reads something else."""
    if not isinstance(preprocessor, TextReader):
        raise Unsupported(
            f"this head answers with places in a text, but its backbone reads {preprocessor.raw_input.name!r}"
        )
    return preprocessor
