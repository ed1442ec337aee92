"""Walk an ONNX file's protobuf fields and refuse loose ends: external data, foreign operators, torn messages.

The `onnx` package would parse gigabytes of weights to answer this and is not part of a serving installation; the walk
skips over weights and needs only the field numbers of onnx.proto, which never change.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from headstock.errors import InvalidInput

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DEPTH_LIMIT = 100
_NODE_DOMAIN, _FUNCTION_DOMAIN, _EXTERNAL_DATA, _DATA_LOCATION = 7, 10, 13, 14
_METADATA = 14
_EXTERNAL = 1
_IR_VERSION, _IR_VERSION_LIMIT = 1, 64
_KNOWN_DOMAINS = {b"", b"ai.onnx", b"ai.onnx.ml", b"com.microsoft"}
"""Operator sets built into ONNX Runtime; a custom one would need a native library."""

# Message -> field number -> message in that field: the paths on which a tensor or a node can sit.
_FIELDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "tensor": {},
}

Value = int | tuple[int, int]
"""A number, or the [start, end) of a length-delimited field."""


class _Torn(Exception):
    """The bytes are not the protobuf message they should be."""


def looks_like(path: Path) -> bool:
    """True if the file begins like an ONNX ModelProto: a small `ir_version`, then a field that a model has."""
    with path.open("rb") as file:
        start = file.read(3)
    if len(start) < 3 or start[0] != _IR_VERSION << 3 or not 1 <= start[1] < _IR_VERSION_LIMIT:
        return False
    # producer_name, producer_version, domain, model_version, doc_string, graph, opset_import, metadata_props
    return start[2] in {0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72}


def check(path: Path, label: str) -> None:
    """Raise `InvalidInput` unless the model is self-contained, uses known operator sets and is whole."""
    if path.stat().st_size == 0:
        raise InvalidInput(f"{label!r} is empty; expected an ONNX model", fix="export it again")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        walk = _Walk(data)
        try:
            walk.message("model", 0, len(data), 0)
        except _Torn as error:
            raise InvalidInput(f"{label!r} is not a whole ONNX model: {error}", fix="export it again") from error
    if walk.external:
        raise InvalidInput(
            f"{label!r} keeps weights in another file (ONNX external data); the store takes self-contained graphs",
            fix="load it with onnx.load and save it with onnx.save(model, path, save_as_external_data=False)",
        )
    if foreign := walk.used - walk.defined - _KNOWN_DOMAINS:
        names = sorted(d.decode(errors="replace")[:80] for d in foreign)
        raise InvalidInput(
            f"{label!r} uses operator sets {names}, which ONNX Runtime does not have built in",
            fix="export it with standard operators",
        )
    if not walk.graphs:
        raise InvalidInput(f"{label!r} is an ONNX model without a graph", fix="export it again")


def metadata(path: Path) -> dict[str, str]:
    """The `metadata_props` of a ModelProto, a later key winning; empty for a file that is not a whole ONNX model.

    Graph and weights are skipped over. Values are cut at 10,000 bytes, and entries beyond the first 1,000 are left out.
    """
    if path.stat().st_size < 3 or not looks_like(path):
        return {}
    found: dict[str, str] = {}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        walk = _Walk(data)
        try:
            for number, place in walk.fields(0, len(data)):
                if number == _METADATA and not isinstance(place, int) and len(found) < 1000:
                    entry = {n: v for n, v in walk.fields(*place) if not isinstance(v, int)}
                    key, value = (
                        data[start : min(end, start + 10_000)].decode(errors="replace")
                        for start, end in (entry.get(1, (0, 0)), entry.get(2, (0, 0)))
                    )
                    found[key] = value
        except _Torn:
            return {}
    return found


class _Walk:
    """What one pass over the file saw."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.external = False
        self.graphs = 0
        self.used: set[bytes] = set()
        self.defined: set[bytes] = set()

    def message(self, kind: str, start: int, end: int, depth: int) -> None:
        if depth > _DEPTH_LIMIT:
            raise _Torn(f"its messages nest deeper than {_DEPTH_LIMIT}")
        self.graphs += kind == "graph"
        inner = _FIELDS[kind]
        for number, value in self.fields(start, end):
            if isinstance(value, int):
                self.external |= kind == "tensor" and number == _DATA_LOCATION and value == _EXTERNAL
            elif number in inner:
                self.message(inner[number], *value, depth + 1)
            elif kind == "tensor" and number == _EXTERNAL_DATA:
                self.external = True
            elif kind == "node" and number == _NODE_DOMAIN:
                self.used.add(self.data[slice(*value)])
            elif kind == "function" and number == _FUNCTION_DOMAIN:
                self.defined.add(self.data[slice(*value)])

    def fields(self, start: int, end: int) -> Iterator[tuple[int, Value]]:
        """Field numbers and values of the message in [start, end)."""
        at = start
        while at < end:
            tag, at = self.varint(at, end)
            number, wire = tag >> 3, tag & 7
            value: Value = 0
            if wire == _VARINT:
                value, at = self.varint(at, end)
            elif wire == _BYTES:
                length, at = self.varint(at, end)
                value = (at, at + length)
                at += length
            elif wire in (_FIXED64, _FIXED32):
                at += 8 if wire == _FIXED64 else 4
            else:
                raise _Torn(f"wire type {wire} at byte {at}")
            if number == 0 or at > end:
                raise _Torn(f"field {number} runs past its message at byte {at}")
            yield number, value

    def varint(self, at: int, end: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                raise _Torn("it ends inside a number")
            byte = self.data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
        raise _Torn(f"a number at byte {at} is too long")
