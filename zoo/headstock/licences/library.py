"""The licence records and the alias table: Headstock's own, read when first asked for, and an operator's folder."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from headstock.errors import Corrupt, NotFound
from headstock.licences import operator_records
from headstock.licences.folder import state_of
from headstock.licences.terms import LicenceDoc

_DATA = Path(__file__).parent / "data"
REF = "LicenseRef-headstock-"
"""Prefix of the ids of Headstock's own records that SPDX has no id for."""

# Replaced as a whole, never changed, so reading needs no lock.
_added = operator_records.NONE


def use(folder: Path) -> None:
    """From here on the records in `folder` count beside Headstock's own; a folder that is absent has none.

    One process judges for one installation: whoever loads a policy says where its records are. Raises `Corrupt` for a
    record that is not valid or claims an id of Headstock's own.
    """
    global _added
    state = state_of(folder)
    if (folder, state) != (_added.folder, _added.state):
        _added = operator_records.read(folder, state, own_ids())


def edition() -> object:
    """Changes with the operator's records: what is remembered of records is remembered for an edition."""
    return _added.folder, _added.state


def ids() -> tuple[str, ...]:
    """Ids of every record, sorted; reads no record."""
    return tuple(sorted(own_ids() | _added.docs.keys()))


@cache
def own_ids() -> frozenset[str]:
    """Ids of Headstock's own records: nobody else may claim one."""
    return frozenset(path.name.removesuffix(".toml") for path in (_DATA / "records").glob("*.toml"))


def find(licence: str) -> LicenceDoc | None:
    """The record of an id, or None if nobody has written one."""
    return _own(licence) if licence in own_ids() else _added.docs.get(licence)


@lru_cache(maxsize=512)
def _own(licence: str) -> LicenceDoc:
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


def fields_of_use() -> tuple[str, ...]:
    """Every field of use that a record limits, sorted: the words that a context's `sector` may be."""
    return _fields(edition())


@lru_cache(maxsize=8)
def _fields(edition: object) -> tuple[str, ...]:
    limits = (limit for licence in ids() for limit in get(licence).restrictions if limit.kind == "field-of-use")
    return tuple(sorted({value for limit in limits for value in limit.values}))


@cache
def aliases() -> Mapping[str, Mapping[str, Any]]:
    """What hubs, cards and packages write, lower case, to what it means."""
    return read_toml(_DATA / "aliases.toml")


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML data file of the package."""
    return tomllib.loads(path.read_text(encoding="utf-8"))
