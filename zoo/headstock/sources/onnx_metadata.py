"""What ONNX files beside a checkpoint say about their licence: `metadata_props`, read without running anything."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from headstock.sources.evidence import licence_statement
from headstock.sources.fetched import Statement, names_under
from headstock.sources.licence_ids import NOASSERTION, normalise
from headstock.store.onnx_wire import metadata

_LICENCE = ("license", "licence")
_BESIDE = {
    "license_name": ("license_name", "licence_name"),
    "license_link": ("license_link", "licence_link", "license_url", "licence_url"),
}
_LINK = re.compile(r"\s*\(\s*https?://[^\s)]*\s*\)\s*$")
_TAIL = re.compile(r"\s+licen[sc]e$", re.IGNORECASE)


def onnx_statements(folder: Path, label: str) -> list[Statement]:
    """Licence statements of the `*.onnx` files in `folder` and one level below; silent files give none.

    Key names are free in ONNX: `license`, `license_name` and `license_url` in either spelling are understood. An author
    is kept with the words of a licence, and says nothing alone.
    """
    found = []
    for name in sorted(n for n in names_under(folder) if n.endswith(".onnx")):
        found += _statements(metadata(folder / name), f"{label}/{name}")
    return found


def _statements(properties: Mapping[str, str], locator: str) -> list[Statement]:
    said = {key.strip().lower(): value.strip() for key, value in properties.items() if value.strip()}
    beside = {name: said[key] for name, keys in _BESIDE.items() for key in keys if key in said}
    values = sorted({said[key] for key in _LICENCE if key in said})
    if not values and not beside:
        return []
    author = f"; author: {said['author']}" if "author" in said else ""
    found = []
    spoken: list[str | None] = [*values] or [None]
    for value in spoken:
        made = licence_statement(value, "onnx-metadata", locator, beside)
        licence = made.value if value is None or made.value != NOASSERTION else _plain(value)
        found.append(Statement("licence", licence, made.source, locator, made.raw + author, made.scope))
    return found


def _plain(value: str) -> str:
    """`AGPL-3.0 License (https://...)`, as exporters write it, without its decoration."""
    return normalise(_TAIL.sub("", _LINK.sub("", value)))
