"""Collect garbage: first the records that nothing reaches, then, after that is committed, the blobs nobody names."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from headstock.catalogue import artefacts, audit, leases, schema
from headstock.catalogue.closure import reach
from headstock.catalogue.database import Database
from headstock.catalogue.views import GcReport
from headstock.digest import Digest
from headstock.store import BlobStore

_CLOCK_SLACK = 2.0
"""Seconds by which a file system's clock may lag behind the one that stamped a lease."""


@dataclass(frozen=True, slots=True)
class _Plan:
    records: tuple[Digest, ...]
    """Artefacts to delete."""
    hollow: tuple[Digest, ...]
    """Artefacts that keep their record for lineage and lose their blobs."""
    blobs: tuple[Digest, ...]
    kept: int
    young: int
    since: float | None
    """Blobs put at or after this POSIX time stay."""


def collect(database: Database, store: BlobStore, actor: str, *, dry_run: bool) -> GcReport:
    """See `Catalogue.gc`.

    A crash at any point leaves blobs too many, never too few: rows that name a blob are gone, durably, before the blob
    is. Writers are held off while blobs go, so none can come to name a blob that is about to be deleted.
    """
    if dry_run:
        with database.read() as connection:
            plan = _plan(connection, store)
        size = sum(store.size(blob) for blob in plan.blobs)
        return _report(plan, plan.records, plan.blobs, size, store.dead_temporaries(), dry_run=True)
    with database.write() as connection:
        first = _plan(connection, store)
        artefacts.erase(connection, first.records)
        artefacts.erase_files(connection, first.hollow)
        leases.sweep(connection)
    with database.write() as connection:
        # Versions may have been removed in between: their rows still stand, so their blobs wait for the next time.
        plan = _plan(connection, store, spare_named=True)
        sizes = {blob: store.delete(blob, unless_newer=plan.since) for blob in plan.blobs}
        deleted = tuple(blob for blob, size in sizes.items() if size)
        temporaries = store.dead_temporaries(delete=True)
        report = _report(plan, first.records, deleted, sum(sizes.values()), temporaries, dry_run=False)
        if report.blobs or report.artefacts:
            detail = {"blobs": len(report.blobs), "bytes": report.bytes, "artefacts": len(report.artefacts)}
            audit.append(connection, actor, "gc", "store", detail)
    return report


def _plan(connection: sa.Connection, store: BlobStore, *, spare_named: bool = False) -> _Plan:
    """What goes now; `spare_named` keeps every blob that a row names, whether or not anything reaches the row."""
    guard = leases.protected(connection)
    keep = reach(connection, guard.digests)
    known = list(connection.execute(sa.select(schema.artefacts.c.digest, schema.artefacts.c.erased)))
    needed: set[str] = set(guard.digests)
    hollow: set[Digest] = set()
    for row in connection.execute(sa.select(schema.files)):
        if spare_named or row.artefact in keep.bytes:
            needed.add(row.blob)
        if row.artefact in keep.records and row.artefact not in keep.bytes:
            hollow.add(Digest(row.artefact))
    since = None if guard.since is None else guard.since - _CLOCK_SLACK
    present = list(store.digests())
    unnamed = sorted(blob for blob in present if blob not in needed)
    young = {blob for blob in unnamed if since is not None and store.modified(blob) >= since}
    return _Plan(
        records=tuple(sorted(Digest(row.digest) for row in known if row.digest not in keep.records)),
        hollow=tuple(sorted(hollow)),
        blobs=tuple(blob for blob in unnamed if blob not in young),
        kept=len(present) - len(unnamed),
        young=len(young),
        since=since,
    )


def _report(
    plan: _Plan,
    records: tuple[Digest, ...],
    blobs: tuple[Digest, ...],
    size: int,
    temporaries: int,
    *,
    dry_run: bool,
) -> GcReport:
    return GcReport(dry_run, blobs, size, records, plan.kept, plan.young, temporaries)
