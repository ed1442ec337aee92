"""Inputs taken in hand one by one: how large they are, whether they can be read, what is in them."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from headstock.data.columns import ROW
from headstock.data.inputs import RawInputs
from headstock.digest import Digest, canonical_json, digest_bytes
from headstock.errors import FailedPrecondition, InvalidInput
from headstock.preprocess import Preprocessor
from headstock.preprocess.reading import read_rows
from headstock.records import Reads

_RATE, _MOST_SECONDS = 16_000, 3_600


@dataclass(slots=True)
class Measures:
    """What was seen of all rows, in their order; nothing of rows with faults."""

    sizes: dict[str, list[float]] = field(default_factory=dict)
    """Measure to one value per readable row."""
    kinds: Counter[str] = field(default_factory=Counter)
    contents: list[Digest | None] = field(default_factory=list)
    """Per row a digest of what is in it, equal for texts that differ in case and spaces only, and for images and
    recordings that differ in encoding only; None for rows with faults."""
    faults: dict[int, str] = field(default_factory=dict)
    """Row to why it cannot be read."""
    cut: int = 0
    """Rows that the backbone cuts."""


Seen = tuple[dict[str, float], str, bytes]
"""Measures, kind and content of one sample."""


def measure(roles: Sequence[str], inputs: RawInputs, backbone: Preprocessor | None, reads: Reads) -> Measures:
    """Look at every row; `backbone` is that which would read them, if one is known."""
    look = _LOOKS.get(roles[0], _texts(roles))
    found = Measures()
    for start in range(0, len(inputs), inputs.block):
        rows = range(start, min(start + inputs.block, len(inputs)))
        for row, sample in zip(rows, zip(*inputs.read(rows), strict=True), strict=True):
            try:
                sizes, kind, content = look(sample)
                if backbone is not None:
                    found.cut += read_rows(backbone, reads, [[value] for value in sample])[0].truncated
            except InvalidInput as error:
                found.faults[row] = error.message
                found.contents.append(None)
                continue
            found.contents.append(digest_bytes(content))
            found.kinds.update([kind] if kind else [])
            for name, size in sizes.items():
                found.sizes.setdefault(name, []).append(size)
    return found


def _texts(roles: Sequence[str]) -> Callable[[Sequence[Any]], Seen]:
    def look(sample: Sequence[Any]) -> Seen:
        names = ["characters"] if len(roles) == 1 else [f"characters of the {role}" for role in roles]
        plain = [" ".join(text.split()).casefold() for text in sample]
        sizes = {name: float(len(text)) for name, text in zip(names, sample, strict=True)}
        return sizes, "", canonical_json(plain)

    return look


def _row(sample: Sequence[Any]) -> Seen:
    return {}, "", sample[0].encode()


def _image(sample: Sequence[Any]) -> Seen:
    from PIL import Image

    from headstock.preprocess.image import FORMATS
    from headstock.preprocess.image_options import MAX_PIXELS

    data: bytes = sample[0]
    if not data:
        raise InvalidInput("the file is empty")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    # Pillow's readers raise nearly anything for a malformed file.
    except Exception as error:
        raise InvalidInput("no JPEG, PNG or WebP") from error
    if image.width * image.height > MAX_PIXELS:
        raise InvalidInput(f"{image.width} x {image.height} pixels; at most {MAX_PIXELS} are decoded")
    try:
        image.load()
        pixels = image.convert("RGBA").tobytes()
    except Exception as error:
        raise InvalidInput("truncated or damaged") from error
    sizes = {"width in pixels": float(image.width), "height in pixels": float(image.height)}
    return sizes, f"{image.format} {image.mode}", canonical_json(image.size) + pixels


def _sound(sample: Sequence[Any]) -> Seen:
    from headstock.preprocess.audio_decode import decode

    try:
        import soundfile
    except ImportError as error:
        raise FailedPrecondition(
            "soundfile is not installed, and looking at recordings needs it", fix="pip install 'headstock[serve]'"
        ) from error
    try:
        samples = decode(sample[0], 0, rate=_RATE, max_seconds=_MOST_SECONDS)
    except InvalidInput as error:
        raise InvalidInput(error.message.removeprefix("audio 0 "), fix=error.fix) from error
    with soundfile.SoundFile(io.BytesIO(sample[0])) as file:
        kind = f"{file.format} {file.samplerate} Hz, {file.channels} channel{'s' if file.channels > 1 else ''}"
    return {"seconds": round(len(samples) / _RATE, 3)}, kind, samples.tobytes()


_LOOKS: dict[str, Callable[[Sequence[Any]], Seen]] = {"image": _image, "audio": _sound, ROW: _row}
