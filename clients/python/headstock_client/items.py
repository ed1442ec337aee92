"""What callers have in hand - texts, bytes, files, rows, pairs - as the raw inputs that a model declares."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from headstock_client.types import Input, ModelMetadata

Value: TypeAlias = "str | bytes | Path | Mapping[str, Any]"
Item: TypeAlias = "Value | tuple[Value, ...]"
"""One sample: text as `str`; encoded image or recording as `bytes`; a `Path` to a file of either; a row of a table as a
mapping; or, for a model that takes several raw inputs, one value for each, as a tuple or by name."""

_ENCODED = ("image", "audio")


def raw_inputs(metadata: ModelMetadata) -> tuple[str, ...]:
    """Names of the inputs that take raw samples: the BYTES ones. Ready tensors are numbers."""
    return tuple(tensor.name for tensor in metadata.inputs if tensor.datatype == "BYTES")


def tensors_of(names: Sequence[str], items: Sequence[Item]) -> dict[str, Input]:
    """The samples as one BYTES tensor per raw input.

    Raises `TypeError` for what does not fit the model, and `OSError` for a file that cannot be read. A lone sample is
    refused, for a text would be read letter by letter.
    """
    if isinstance(items, str | bytes | Path | Mapping):
        raise TypeError(f"items is one {type(items).__name__}; expected a list of samples")
    rows = [_values(names, item, index) for index, item in enumerate(items)]
    return {
        name: [_content(name, row[place], index) for index, row in enumerate(rows)] for place, name in enumerate(names)
    }


def _values(names: Sequence[str], item: Item, index: int) -> Sequence[Value]:
    if len(names) == 1:
        if isinstance(item, tuple):
            raise TypeError(f"item {index} is a tuple; this model takes one input, {names[0]!r}")
        return (item,)
    if isinstance(item, Mapping) and set(item) == set(names):
        return [item[name] for name in names]
    if isinstance(item, tuple) and len(item) == len(names):
        return item
    raise TypeError(f"item {index} does not fit this model; expected a tuple or mapping of {', '.join(names)}")


def _content(name: str, value: Value, index: int) -> bytes:
    if isinstance(value, Path):
        return value.read_bytes()
    if isinstance(value, bytes):
        return value
    if isinstance(value, Mapping) and name == "row":
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    if isinstance(value, str) and name not in _ENCODED:
        return value.encode()
    what = "encoded bytes or a pathlib.Path" if name in _ENCODED else "str, bytes or a pathlib.Path"
    raise TypeError(f"item {index} is a {type(value).__name__}; this model's {name!r} takes {what}")
