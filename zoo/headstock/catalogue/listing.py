"""What `headstock list` shows, read without SQLAlchemy when the catalogue is SQLite: importing that costs 200 ms."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from headstock.catalogue.revision import HEAD
from headstock.errors import Corrupt
from headstock.settings import Settings

NOASSERTION = "NOASSERTION"

# Relations along which the licence of the older weights reaches the newer ones.
_WEIGHT_RELATIONS = {
    "converted_from",
    "quantised_from",
    "finetuned_from",
    "pruned_from",
    "merged_from",
    "initialised_from",
    "distilled_from",
}

Query = Callable[[str], Iterable[Any]]
T = TypeVar("T")

ARTEFACTS = "SELECT digest, kind, identity FROM artefacts"
EDGES = "SELECT child, relation, parent FROM edges"
"""The two long tables, in the words of all that read them whole: `once` then reads them once."""


@dataclass(frozen=True, slots=True)
class Listing:
    """One version as a listing shows it."""

    name: str
    version: int
    newest: bool
    aliases: tuple[str, ...]
    kind: str
    """`backbone` or `model`."""
    family: str
    """Family of the backbone."""
    head: str
    """Head type; empty for a backbone."""
    backbone: str
    """Digest of the backbone: the version itself, or what it stands on."""
    backbone_name: str
    """Entry that holds the backbone; empty if none does any more."""
    own_bytes: int
    """Bytes that only this version needs, its backbone's apart."""
    shared_bytes: int
    """Bytes of the backbone that a model shares with every other head on it; 0 for a backbone."""
    licences: tuple[str, ...]
    """Licences that sources declare for the weights, all of them where sources differ; `NOASSERTION` if none does."""
    created_at: str
    """UTC, ISO 8601, seconds."""
    subject: str
    """Digest of what the version is: a backbone or a model."""


def read_listing(settings: Settings, kind: str | None = None) -> list[Listing]:
    """Every version, by name, newest first; empty when there is no catalogue yet.

    Raises `FailedPrecondition` for a catalogue of a newer version, `Corrupt` for one that makes no sense.
    """
    return read_catalogue(settings, lambda query: listing(query, kind)) or []


def read_catalogue(settings: Settings, read: Callable[[Query], T]) -> T | None:
    """What `read` makes of one snapshot, whose SELECTs it is given a way to run; None when there is no catalogue yet.

    Raises as `read_listing` does.
    """
    path = settings.sqlite_path
    if path is not None and not path.is_file():
        return None
    if path is not None:
        connection = _open_sqlite(path)
        try:
            query: Query = connection.execute
            if _at_head(query):
                return read(query)
        except (sqlite3.Error, ValueError, KeyError) as error:
            raise Corrupt(f"the catalogue cannot be read: {error!r}", fix="headstock verify") from error
        finally:
            connection.close()
    return _read_through_sqlalchemy(settings, read)


def once(query: Query) -> Query:
    """The same query, for one snapshot: what was asked before in the same words is not read again."""
    return cache(lambda sql: list(query(sql)))


@lru_cache(maxsize=4096)
def parsed(identity: str) -> Mapping[str, Any]:
    """An identity out of its JSON text, for whoever only reads it: a listing and its verdicts ask for the same."""
    value: dict[str, Any] = json.loads(identity)
    return value


def _open_sqlite(path: Path) -> sqlite3.Connection:
    # Read-only, so that listing cannot create or change a database.
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None, timeout=30)
    connection.execute("BEGIN")
    return connection


def _at_head(query: Query) -> bool:
    tables = {row[0] for row in query("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return "alembic_version" in tables and [row[0] for row in query("SELECT version_num FROM alembic_version")] == [
        HEAD
    ]


def _read_through_sqlalchemy(settings: Settings, read: Callable[[Query], T]) -> T:
    """Another database server, or a schema that has to be migrated first."""
    import sqlalchemy as sa

    from headstock.catalogue.database import Database

    database = Database.open(settings.catalogue_url, settings.sqlite_path, create=False)
    try:
        with database.read() as connection:
            return read(lambda sql: connection.execute(sa.text(sql)).all())
    finally:
        database.close()


def listing(query: Query, kind: str | None = None) -> list[Listing]:
    """One listing per version, by name, newest first, from whole-table reads in SQL that every database speaks."""
    rows = list(query("SELECT name, number, kind, subject, backbone, created_at FROM versions"))
    facts = _Facts(query, {row[3] for row in rows} | {row[4] for row in rows})
    aliases: dict[tuple[str, int], list[str]] = {}
    for name, alias, number in query("SELECT name, alias, number FROM aliases"):
        aliases.setdefault((name, number), []).append(alias)
    newest: dict[str, int] = {}
    holders: dict[str, str] = {}
    for name, number, entry_kind, subject, _, _ in sorted(rows):
        newest[name] = number
        if entry_kind == "backbone":
            holders.setdefault(subject, name)
    listings = [
        Listing(
            name=name,
            version=number,
            newest=newest[name] == number,
            aliases=tuple(sorted(aliases.get((name, number), ()))),
            kind=entry_kind,
            family=facts.family(backbone),
            head=facts.head_type(subject) if entry_kind == "model" else "",
            backbone=backbone,
            backbone_name=holders.get(backbone, ""),
            own_bytes=facts.own_bytes(subject, backbone),
            shared_bytes=facts.bytes_of({backbone}) if entry_kind == "model" else 0,
            licences=facts.licences(subject),
            created_at=created_at,
            subject=subject,
        )
        for name, number, entry_kind, subject, backbone, created_at in rows
        if kind in (None, entry_kind)
    ]
    return sorted(listings, key=lambda item: (item.name, -item.version))


class _Facts:
    """What hangs on the artefacts that versions name."""

    def __init__(self, query: Query, subjects: set[str]) -> None:
        texts: dict[str, str] = {digest: text for digest, _, text in query(ARTEFACTS)}
        self._identities = {digest: parsed(texts[digest]) for digest in subjects}
        for identity in list(self._identities.values()):
            for part in ("head", "adapter"):
                if digest := identity.get(part):
                    self._identities.setdefault(digest, parsed(texts[digest]))
        self._files: dict[str, dict[str, int]] = {}
        for artefact, blob, size in query("SELECT artefact, blob, size FROM files"):
            self._files.setdefault(artefact, {})[blob] = size
        self._declared: dict[str, set[str]] = {}
        for subject, value in query("SELECT subject, value FROM evidence WHERE field = 'licence'"):
            self._declared.setdefault(subject, set()).add(value)
        self._parents: dict[str, list[str]] = {}
        for child, relation, parent in query(EDGES):
            if relation in _WEIGHT_RELATIONS:
                self._parents.setdefault(child, []).append(parent)

    def family(self, backbone: str) -> str:
        return str(self._identities[backbone].get("family", ""))

    def head_type(self, model: str) -> str:
        head = self._identities.get(self._identities[model].get("head", ""), {})
        return str(head.get("type", ""))

    def own_bytes(self, subject: str, backbone: str) -> int:
        if subject == backbone:
            return self.bytes_of({subject})
        return self.bytes_of(self._composition(subject) - {backbone})

    def bytes_of(self, artefacts: set[str]) -> int:
        blobs: dict[str, int] = {}
        for artefact in artefacts:
            blobs |= self._files.get(artefact, {})
        return sum(blobs.values())

    def licences(self, subject: str) -> tuple[str, ...]:
        waiting, seen, declared = self._composition(subject), set[str](), set[str]()
        while waiting:
            digest = waiting.pop()
            if digest not in seen:
                seen.add(digest)
                declared |= self._declared.get(digest, set())
                waiting.update(self._parents.get(digest, ()))
        return tuple(sorted(declared - {NOASSERTION})) or (NOASSERTION,)

    def _composition(self, subject: str) -> set[str]:
        identity = self._identities[subject]
        return {subject, *(identity[p] for p in ("backbone", "head", "adapter") if identity.get(p))}
