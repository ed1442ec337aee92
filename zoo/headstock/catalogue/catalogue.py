"""The catalogue: what is known about backbones and models, in one database beside one blob store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa

from headstock.catalogue import aliases, artefacts, audit, entries, gc, leases, publishing, schema, verify
from headstock.catalogue.database import Database
from headstock.catalogue.leases import Lease
from headstock.catalogue.views import AliasChange, Event, GcReport, VerifyReport
from headstock.digest import Digest
from headstock.names import Reference
from headstock.records import (
    PRODUCTION,
    Artefact,
    Certificate,
    Edge,
    EntryKind,
    Evidence,
    Publication,
    Version,
)
from headstock.settings import Settings
from headstock.store import BlobStore


class Catalogue:
    """Entries, versions, aliases, lineage and evidence. Safe for any number of threads and processes.

    Every change is one durable transaction that happens entirely or not at all, with one event in the audit log.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        """Use `Catalogue.open`."""
        self.settings = settings
        self.store = BlobStore(settings.store)
        self._database = database

    @classmethod
    def open(cls, settings: Settings | None = None, *, create: bool = True) -> Catalogue:
        """Open the catalogue of `settings` (default: from the environment), migrating an older schema.

        Raises `NotFound` if there is none and `create` is false, `FailedPrecondition` for a newer schema.
        """
        settings = Settings.from_environment() if settings is None else settings
        return cls(settings, Database.open(settings.catalogue_url, settings.sqlite_path, create=create))

    def close(self) -> None:
        """Close the database. Closing twice is fine."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Catalogue(home={str(self.settings.home)!r})"

    # ------------------------------------------------------------------------------------------ entries
    def publish(self, publication: Publication) -> Version:
        """Add a version with everything it brings, in one transaction; its blobs must be in the store.

        The number is one more than the entry ever had. Publishing the newest version's subject again adds no version
        and returns that one, but takes new evidence, edges, certificates and a backbone's new files.
        Raises `AlreadyExists` if the name holds the other kind, `NotFound` for a blob or artefact that is not there,
        `Corrupt` for an identity that does not hash to its digest, `DigestMismatch` for a head on a foreign backbone.
        """
        with self._database.write() as connection:
            return publishing.publish(connection, self.store, self.settings.actor, publication)

    def names(self, kind: EntryKind | None = None) -> list[str]:
        """Names of the entries that have a version, in order."""
        with self._database.read() as connection:
            return entries.names(connection, kind)

    def versions(self, name: str | None = None, kind: EntryKind | None = None) -> list[Version]:
        """Versions by name, newest first; all entries' without `name`, none for an unknown one."""
        with self._database.read() as connection:
            return entries.versions(connection, name, kind)

    def version(self, reference: Reference) -> Version:
        """The version that a reference means; raises `NotFound` naming near matches and what exists."""
        with self._database.read() as connection:
            return entries.resolve(connection, reference)

    def newest(self, name: str) -> Version:
        """The entry's highest version; raises `NotFound`."""
        with self._database.read() as connection:
            return entries.newest(connection, name)

    def remove(self, name: str, number: int | None = None, *, reason: str = "") -> None:
        """Remove a version, or without `number` the whole entry and its aliases. Blobs go with the next `gc`.

        Numbers are never given again. Raises `FailedPrecondition` when an alias points to the version, or a model
        stands on the backbone.
        """
        with self._database.write() as connection:
            entries.remove(connection, self.settings.actor, name, number, reason)

    def check_removal(self, name: str, number: int | None = None) -> list[Version]:
        """The versions that `remove` would take; raises what `remove` would raise."""
        with self._database.read() as connection:
            return entries.check_removal(connection, name, number)

    # ------------------------------------------------------------------------------------------ aliases
    def aliases(self, name: str) -> dict[str, int]:
        """Alias to version number."""
        with self._database.read() as connection:
            return entries.aliases(connection, name)

    def served(self) -> tuple[list[Version], dict[str, dict[str, int]]]:
        """Every version by name, newest first, and every name's aliases, of one and the same moment."""
        with self._database.read() as connection:
            return entries.versions(connection, None, None), entries.all_aliases(connection)

    def alias_history(self, name: str, alias: str) -> list[AliasChange]:
        """Every move of an alias, oldest first."""
        with self._database.read() as connection:
            return aliases.history(connection, name, alias)

    def promote(self, name: str, number: int, alias: str = PRODUCTION, *, reason: str = "") -> AliasChange:
        """Point an alias at a version; raises `NotFound` for an unknown version."""
        with self._database.write() as connection:
            return aliases.promote(connection, self.settings.actor, name, number, alias, reason)

    def rollback(self, name: str, alias: str = PRODUCTION, *, reason: str = "") -> AliasChange:
        """Point an alias at the different target it had before; again, at the one before that.

        Removed versions are skipped. Raises `FailedPrecondition` when there is no earlier target.
        """
        with self._database.write() as connection:
            return aliases.rollback(connection, self.settings.actor, name, alias, reason)

    # ------------------------------------------------------------------------------------------ artefacts
    def artefact(self, digest: Digest) -> Artefact:
        """The artefact of that digest; raises `NotFound`."""
        with self._database.read() as connection:
            return artefacts.read(connection, digest)

    def certificate(self, backbone: Digest, provider: str | None = None) -> Certificate | None:
        """The backbone's latest isolation certificate, of one execution provider if given."""
        with self._database.read() as connection:
            return artefacts.certificate(connection, backbone, provider)

    def evidence(self, subject: Digest) -> list[Evidence]:
        """Every statement about one artefact."""
        with self._database.read() as connection:
            return artefacts.evidence(connection, subject)

    def edges(self, *, child: Digest | None = None, parent: Digest | None = None) -> list[Edge]:
        """Lineage edges of a child, a parent or both; all of them without either."""
        with self._database.read() as connection:
            return artefacts.edges(connection, child, parent)

    def sizes(self, digest: Digest) -> dict[str, int]:
        """Bytes of an artefact's files, by role."""
        table = schema.files
        query = sa.select(table.c.role, table.c.size).where(table.c.artefact == digest, ~table.c.implied)
        with self._database.read() as connection:
            return {row.role: row.size for row in connection.execute(query.order_by(table.c.role))}

    # ------------------------------------------------------------------------------------------ operation
    def events(self, limit: int = 100) -> list[Event]:
        """The latest events of the audit log, newest first."""
        with self._database.read() as connection:
            return audit.read(connection, limit)

    def record(self, action: str, subject: str, detail: Mapping[str, Any]) -> Event:
        """Append an event to the audit log: a decision that changes no version, such as a licence conclusion."""
        with self._database.write() as connection:
            audit.append(connection, self.settings.actor, action, subject, detail)
            return audit.read(connection, 1)[0]

    def audit_faults(self) -> list[str]:
        """What is wrong with the audit log's chain, in words; empty when it is whole."""
        with self._database.read() as connection:
            return list(audit.faults(connection))

    @contextmanager
    def snapshot(self) -> Iterator[Callable[[str], Iterable[Any]]]:
        """Run SELECTs that all see the same state: for readers of whole tables. SQL that every database speaks."""
        with self._database.read() as connection:
            yield lambda query: connection.execute(sa.text(query)).all()

    def generation(self) -> int:
        """A number that grows with every change that any process commits; cheap enough to poll."""
        with self._database.read() as connection:
            return int(connection.execute(sa.select(schema.state.c.generation)).scalar_one())

    def writing(self, owner: str) -> AbstractContextManager[None]:
        """A write lease: blobs put since its start survive `gc` until the block ends. Publish inside the block."""
        return leases.writing(self._database, owner)

    def lease(self, owner: str, digests: Sequence[Digest], seconds: float) -> Lease:
        """Keep artefacts, with all they stand on, and blobs from `gc` for `seconds`, renewable."""
        return leases.grant(self._database, owner, "read", digests, seconds)

    def gc(self, *, dry_run: bool = False) -> GcReport:
        """Delete the records and blobs that no version, alias, lease or running writer needs."""
        return gc.collect(self._database, self.store, self.settings.actor, dry_run=dry_run)

    def verify(self, *, repair: bool = False) -> VerifyReport:
        """Check every record, reference and blob; `repair` moves corrupt blobs aside and clears dead files."""
        return verify.verify(self._database, self.store, self.settings.actor, repair=repair)
