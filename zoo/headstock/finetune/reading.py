"""Raw inputs of a data set through the backbone's preprocessing, with the row named that it cannot read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from headstock.data.inputs import RawInputs
from headstock.errors import InvalidInput
from headstock.preprocess import Preprocessor, Row
from headstock.preprocess.reading import read_rows
from headstock.records import Reads

# How a preprocessor names the only row it was given, where the sentence goes on without a colon.
_COUNTED = re.compile(r"^(text|image|audio|row) 0 (?=\w)")


def preprocessed(preprocessor: Preprocessor, reads: Reads, inputs: RawInputs, rows: Sequence[int]) -> list[Row]:
    """One row per row number in `rows`. Raises `InvalidInput` naming the first that cannot be read."""
    raw = inputs.read(rows)
    try:
        return read_rows(preprocessor, reads, raw)
    except InvalidInput:
        # The preprocessor counts within what it was given, which means nothing to the owner of a file.
        for place, row in enumerate(rows):
            try:
                read_rows(preprocessor, reads, [[column[place]] for column in raw])
            except InvalidInput as error:
                why = _COUNTED.sub("it ", error.message, count=1)
                raise InvalidInput(f"the backbone cannot read {inputs.name(row)}: {why}", fix=error.fix) from error
        raise


def contexts(preprocessor: Preprocessor, reads: Reads, inputs: RawInputs) -> list[Mapping[str, Any] | None]:
    """Each row's `extra`, which says where its positions stand."""
    found: list[Mapping[str, Any] | None] = []
    for start in range(0, len(inputs), inputs.block):
        block = range(start, min(start + inputs.block, len(inputs)))
        found += [row.extra for row in preprocessed(preprocessor, reads, inputs, block)]
    return found
