"""What may enter the store, decided by content and not by file name: no pickle, no malformed weights, no loose ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from headstock.errors import InvalidInput
from headstock.store import onnx_wire, pickle_scan, safetensors_header

Content = Literal["graph", "weights", "parameters", "json", "text"]
"""What a file is said to be: an ONNX graph, safetensors, either of them (a head's parameters), JSON, plain text."""


def admit(path: Path, *, name: str | None = None, content: Content | None = None) -> None:
    """Check the file's content; raises `InvalidInput` naming the file (`name`, default its own) and what is wrong.

    Without `content` a file that looks like safetensors, or is named so, must be well-formed safetensors, one that
    looks like ONNX, or is named so, must be self-contained ONNX. Pickle is refused always.
    """
    label = path.name if name is None else name
    is_weights = safetensors_header.looks_like(path)
    is_graph = not is_weights and onnx_wire.looks_like(path)
    if pickle_scan.holds_pickle(path, strict=not is_weights):
        raise InvalidInput(
            f"{label!r} holds pickled Python, which can run code when loaded; the store takes safetensors and ONNX",
            fix="save the weights with safetensors.torch.save_file and use that file",
        )
    match content:
        case "weights" if not is_weights:
            raise _wrong(label, "safetensors weights", path)
        case "graph" if not is_graph:
            raise _wrong(label, "an ONNX graph", path)
        case "parameters" if not (is_weights or is_graph):
            raise _wrong(label, "safetensors or an ONNX graph", path)
        case "json":
            _check_json(path, label)
        case "text":
            _check_text(path, label)
    if is_weights or label.endswith(".safetensors"):
        safetensors_header.check(path, label)
    if is_graph or label.endswith(".onnx"):
        onnx_wire.check(path, label)


def _wrong(label: str, expected: str, path: Path) -> InvalidInput:
    with path.open("rb") as file:
        start = file.read(8)
    known = {b"GGUF": "GGUF", b"\x89HDF": "an HDF5 (Keras) file", b"PK\x03\x04": "a zip archive"}
    found = next((what for magic, what in known.items() if start.startswith(magic)), f"bytes beginning {start!r}")
    return InvalidInput(f"{label!r} was expected to be {expected}, but holds {found}", fix="convert it first")


def _check_json(path: Path, label: str) -> None:
    try:
        json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{label!r} was expected to be JSON: {error}") from error


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON value")


def _check_text(path: Path, label: str) -> None:
    if b"\0" in path.read_bytes():
        raise InvalidInput(f"{label!r} was expected to be text, but holds a zero byte")
