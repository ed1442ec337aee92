"""Verify: every record and blob against its digest, every reference against what it names, the audit log's chain."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

import sqlalchemy as sa

from headstock.catalogue import audit, schema
from headstock.catalogue.closure import parts, versions_by_artefact
from headstock.catalogue.database import Database
from headstock.catalogue.views import Problem, VerifyReport
from headstock.digest import Digest, digest_bytes, short
from headstock.errors import Corrupt, NotFound
from headstock.store import BlobStore

_AGAIN = "pull or fine-tune it again"


def verify(database: Database, store: BlobStore, actor: str, *, repair: bool) -> VerifyReport:
    """See `Catalogue.verify`."""
    problems = [
        Problem("database", f"the database reports: {line}", fix="restore a backup") for line in database.check()
    ]
    with database.read() as connection:
        needed = _needed(connection)
        problems += _records(connection)
        problems += _references(connection)
        problems += [Problem("audit", f"audit log: {fault}") for fault in audit.faults(connection)]
        artefact_count, version_count, event_count = (
            connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in (schema.artefacts, schema.versions, schema.events)
        )
    found = [problem for blob in needed.values() if (problem := _blob(database, store, blob)) is not None]
    if repair:
        found = [_quarantine(store, problem, blob) for problem, blob in found]
        if found:
            with database.write() as connection:
                audit.append(connection, actor, "repair", "store", {"blobs": [blob.digest for _, blob in found]})
    return VerifyReport(
        problems=(*problems, *(problem for problem, _ in found)),
        blobs=len(needed),
        bytes=sum(store.size(blob) for blob in needed if store.has(blob)),
        artefacts=artefact_count,
        versions=version_count,
        events=event_count,
        temporaries=store.dead_temporaries(delete=repair),
    )


@dataclass(frozen=True, slots=True)
class _Blob:
    digest: Digest
    size: int
    uses: tuple[str, ...]
    """What it is: `graph of backbone 3f2a...`."""
    versions: tuple[str, ...]


def _needed(connection: sa.Connection) -> dict[Digest, _Blob]:
    users = versions_by_artefact(connection)
    kinds = {row.digest: row.kind for row in connection.execute(sa.select(schema.artefacts))}
    table = schema.files
    found: dict[Digest, _Blob] = {}
    for row in connection.execute(sa.select(table).order_by(table.c.blob, table.c.implied, table.c.role)):
        blob = found.get(row.blob, _Blob(Digest(row.blob), row.size, (), ()))
        uses = (*blob.uses, f"{row.role} of {kinds.get(row.artefact, 'artefact')} {short(row.artefact)}")
        versions = tuple(sorted({*blob.versions, *users.get(row.artefact, [])}))
        found[Digest(row.blob)] = replace(blob, uses=uses, versions=versions)
    return found


def _blob(database: Database, store: BlobStore, blob: _Blob) -> tuple[Problem, _Blob] | None:
    what = f"{blob.uses[0]}: blob {short(blob.digest)}"
    try:
        store.check(blob.digest)
    except NotFound:
        if not _still_named(database, blob.digest):
            return None  # gc took it and its record after the snapshot was read
        return Problem("blob-missing", f"{what} is missing from the store", blob.versions, fix=_AGAIN), blob
    except Corrupt as error:
        fix = f"headstock verify --repair, then {_AGAIN}"
        return Problem("blob-corrupt", f"{what}: {error.message}", blob.versions, fix=fix), blob
    return None


def _still_named(database: Database, blob: Digest) -> bool:
    with database.read() as connection:
        return connection.execute(sa.select(schema.files.c.role).where(schema.files.c.blob == blob)).first() is not None


def _quarantine(store: BlobStore, problem: Problem, blob: _Blob) -> tuple[Problem, _Blob]:
    if problem.kind != "blob-corrupt":
        return problem, blob
    store.quarantine(blob.digest)
    return replace(problem, repaired="moved to the store's quarantine folder", fix=_AGAIN), blob


def _records(connection: sa.Connection) -> Iterator[Problem]:
    users = versions_by_artefact(connection)
    for row in connection.execute(sa.select(schema.artefacts)):
        what, affected = f"the identity of {row.kind} {short(row.digest)}", tuple(users.get(row.digest, ()))
        found = digest_bytes(row.identity.encode())
        if found != row.digest:
            yield Problem("identity", f"{what} hashes to {short(found)}", affected, fix=_AGAIN)
        elif (declared := json.loads(row.identity).get("kind", row.kind)) != row.kind:
            yield Problem("identity", f"{what} says that it is a {declared}", affected, fix=_AGAIN)


def _references(connection: sa.Connection) -> Iterator[Problem]:
    entries = {row.name: row for row in connection.execute(sa.select(schema.entries))}
    numbers: dict[str, set[int]] = {}
    for row in connection.execute(sa.select(schema.versions)):
        numbers.setdefault(row.name, set()).add(row.number)
        if row.name not in entries or row.number >= entries[row.name].next_version:
            yield Problem("reference", f"{row.name}:{row.number} was never numbered by its entry")
    for row in connection.execute(sa.select(schema.aliases)):
        if row.number not in numbers.get(row.name, ()):
            message = f"alias {row.alias!r} of {row.name!r} points to version {row.number}, which does not exist"
            yield Problem("alias", message, fix=f"headstock promote {row.name}:NUMBER {row.alias}")
    yield from _compositions(connection)


def _compositions(connection: sa.Connection) -> Iterator[Problem]:
    """Heads on backbones that are not there, and models whose head was trained on another backbone."""
    rows = {row.digest: row for row in connection.execute(sa.select(schema.artefacts))}
    made_of = {digest: parts(row.kind, row.identity) for digest, row in rows.items()}
    for digest, affected in versions_by_artefact(connection).items():
        what = f"{rows[digest].kind} {short(digest)}"
        for part, named in made_of[digest].items():
            if named not in rows or rows[named].kind != part:
                message = f"{what} names {part} {short(named)}, which is not known"
                yield Problem("reference", message, tuple(affected), fix=_AGAIN)
        head = made_of.get(made_of[digest].get("head", ""), {})
        if head and head.get("backbone") != made_of[digest].get("backbone"):
            message = f"{what} puts a head on a backbone it was not trained on"
            yield Problem("reference", message, tuple(affected), fix=_AGAIN)
