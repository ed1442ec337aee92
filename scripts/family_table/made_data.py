"""Made-up data for any head type: a table that trains it for a few steps, and samples to ask a server about."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from headstock.data.columns import ROW
from headstock.data.roles import input_roles
from headstock.hookspecs import HeadType
from headstock.preprocess.audio_samples import encode, voice
from headstock.testing.tiny import TEXTS
from headstock.testing.tiny_tabular import ROWS

TRAINING = 24
"""Rows of a table."""
ASKED = 5
"""Samples that a server is asked about; no table holds them, and no two have one length."""

_CLASSES = ("low", "middle", "high")
_SAID = ("ab", "b a", "cab")
_ENDINGS = {"image": "png", "audio": "wav"}


def write_table(head: HeadType, folder: Path, columns: Sequence[str] = ()) -> Path:
    """A JSONL file with what this head type trains on, and the files that it names.

    `columns` are those that a table's backbone reads.
    """
    folder.mkdir(exist_ok=True)
    lines = []
    for index in range(TRAINING):
        record: dict[str, Any] = {}
        for role in input_roles(head):
            record |= _input_cells(role, index, folder, columns)
        record |= {role: _TARGETS[role](head, index) for role in head.columns}
        lines.append(json.dumps(record))
    path = folder / f"{head.name}.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def samples(head: HeadType, columns: Sequence[str] = ()) -> dict[str, list[bytes]]:
    """`ASKED` samples as a caller sends them: name of the raw input to one value per sample."""
    return {role: [_raw(role, TRAINING + index, columns) for index in range(ASKED)] for role in input_roles(head)}


def _input_cells(role: str, index: int, folder: Path, columns: Sequence[str]) -> dict[str, Any]:
    if role == ROW:
        return _row(index, columns)
    if role not in _ENDINGS:
        return {role: _raw(role, index).decode()}
    name = f"{index}.{_ENDINGS[role]}"
    (folder / name).write_bytes(_raw(role, index))
    return {role: name}


def _raw(role: str, index: int, columns: Sequence[str] = ()) -> bytes:
    if role == ROW:
        return json.dumps(_row(index, columns)).encode()
    if role == "image":
        return _picture(index)
    if role == "audio":
        return encode(voice(0.3 + 0.07 * (index % 7), index))
    # Numbers keep texts apart, and the share of a sentence makes them differ in length.
    words = TEXTS[index % len(TEXTS)].split()
    return f"{index} {' '.join(words[: 2 + index % 5])}".encode()


def _row(index: int, columns: Sequence[str]) -> dict[str, Any]:
    row = {**ROWS[index % len(ROWS)], "income": 20_000 + 1_000 * index}
    return {name: value for name, value in row.items() if name in columns}


def _picture(index: int) -> bytes:
    """A PNG of large soft spots."""
    random = np.random.default_rng([23, index])
    spots = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    file = io.BytesIO()
    spots.resize((36 + index, 40), Image.Resampling.BILINEAR).save(file, "PNG")
    return file.getvalue()


def _label(head: HeadType, index: int) -> str:
    if head.task == "anomaly-detection":
        return "good" if index % 4 else "scratch"
    return _CLASSES[index % len(_CLASSES)]


def _first_word(head: HeadType, index: int) -> list[dict[str, Any]]:
    text = _raw("text", index).decode()
    start = text.index(" ") + 1
    return [{"start": start, "end": start + len(text[start:].split()[0]), "label": _CLASSES[index % 2]}]


_TARGETS: Mapping[str, Callable[[HeadType, int], Any]] = {
    "label": _label,
    "labels": lambda head, index: [name for bit, name in enumerate(_CLASSES) if index % 7 + 1 & 1 << bit],
    "target": lambda head, index: index / TRAINING,
    "spans": _first_word,
    "transcript": lambda head, index: _SAID[index % len(_SAID)],
    "answer": lambda head, index: _raw("context", index).decode().split()[1] if index % 4 else "",
}
"""What fills each column that head types train on."""
