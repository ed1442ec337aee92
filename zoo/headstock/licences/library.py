"""The licence records and the alias table, read from data files when first asked for."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from headstock.errors import Corrupt, NotFound
from headstock.licences.terms import LicenceDoc

_DATA = Path(__file__).parent / "data"
REF = "LicenseRef-headstock-"
"""Prefix of the ids of records that SPDX has no id for."""


def ids() -> tuple[str, ...]:
    """Ids of every record, sorted; reads no record."""
    return tuple(sorted(path.name.removesuffix(".toml") for path in (_DATA / "records").glob("*.toml")))


@cache
def _known() -> frozenset[str]:
    return frozenset(ids())


@lru_cache(maxsize=512)
def find(licence: str) -> LicenceDoc | None:
    """The record of an id, or None if nobody has written one."""
    if licence not in _known():
        return None
    doc = LicenceDoc.from_mapping(read_toml(_DATA / "records" / f"{licence}.toml"))
    if doc.id != licence:
        raise Corrupt(f"the record in {licence}.toml says that it is {doc.id!r}")
    return doc


def get(licence: str) -> LicenceDoc:
    """The record of an id; raises `NotFound` with near ids."""
    doc = find(licence)
    if doc is None:
        from difflib import get_close_matches

        lowered = {known.lower().removeprefix(REF.lower()): known for known in ids()}
        near = [lowered[m] for m in get_close_matches(licence.lower().removeprefix(REF.lower()), lowered, n=3)]
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise NotFound(f"there is no licence record {licence!r}{hint}", fix="headstock licence list")
    return doc


@cache
def aliases() -> Mapping[str, Mapping[str, Any]]:
    """What hubs, cards and packages write, lower case, to what it means."""
    return read_toml(_DATA / "aliases.toml")


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML data file of the package."""
    return tomllib.loads(path.read_text(encoding="utf-8"))
