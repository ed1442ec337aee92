"""Plain text: a row per line, without labels."""

from __future__ import annotations

from headstock.data.formats.reading import Rows, decode


def read(name: str, data: bytes) -> Rows:
    """Column `text`, one row per line that is not empty."""
    lines = decode(name, data).splitlines()
    rows = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    return Rows({"text": [line for _, line in rows]}, [number for number, _ in rows])
