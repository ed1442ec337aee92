"""Check a safetensors header ourselves: the library accepts duplicate keys, and a server must not find out later."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from headstock.errors import InvalidInput

_LENGTH_BYTES = 8
_HEADER_LIMIT = 100_000_000  # the format's own limit
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


def looks_like(path: Path) -> bool:
    """True if the file begins like safetensors: a 64-bit little-endian length of plausible size, then `{`."""
    with path.open("rb") as file:
        start = file.read(_LENGTH_BYTES + 1)
    # A length below 2^40 has three zero bytes on top; text, JSON and protobuf have not.
    return len(start) == _LENGTH_BYTES + 1 and start[5:8] == b"\0\0\0" and start[8:] == b"{"


def check(path: Path, label: str) -> None:
    """Raise `InvalidInput` unless header, tensor sizes, offsets and file length agree exactly."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if length > min(_HEADER_LIMIT, size - _LENGTH_BYTES):
            raise _bad(label, f"its header claims {length} bytes, the file has {size}")
        raw = file.read(length)
    try:
        header = json.loads(raw, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _bad(label, f"its header is not valid JSON: {error}") from error
    if not isinstance(header, dict):
        raise _bad(label, "its header is not an object")
    _check_metadata(header.pop("__metadata__", {}), label)
    spans = sorted((*_span(name, entry, label), name) for name, entry in header.items())
    end = 0
    for first, last, name in spans:
        if first != end:
            raise _bad(
                label,
                f"tensor {name[:80]!r} {'overlaps another' if first < end else 'leaves a hole before it'}",
            )
        end = last
    if _LENGTH_BYTES + length + end != size:
        raise _bad(label, f"its tensors need {end} bytes, {size - _LENGTH_BYTES - length} follow the header")


def _check_metadata(metadata: Any, label: str) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _bad(label, "its metadata is not an object of strings")


def _span(name: str, entry: Any, label: str) -> tuple[int, int]:
    """First and last byte offset of one tensor, checked against its dtype and shape."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _bad(label, f"tensor {name[:80]!r} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not (isinstance(dtype, str) and dtype in _BITS):
        raise _bad(label, f"tensor {name[:80]!r} has the unknown dtype {dtype!r}")
    if not (_naturals(shape) and _naturals(offsets) and len(offsets) == 2):
        raise _bad(label, f"tensor {name[:80]!r} has a shape or offsets that are not natural numbers")
    first, last = offsets
    if (last - first) * 8 != math.prod(shape) * _BITS[dtype]:
        raise _bad(label, f"tensor {name[:80]!r} of {dtype} {shape} cannot take {last - first} bytes")
    return first, last


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(v) is int and v >= 0 for v in value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key occurs twice")
    return value


def _bad(label: str, why: str) -> InvalidInput:
    return InvalidInput(f"{label!r} is not well-formed safetensors: {why}", fix="save or download it again")
