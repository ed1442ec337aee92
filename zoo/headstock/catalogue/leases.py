"""Leases: what a running server needs and what an unfinished pull has written, kept from gc until they expire."""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from headstock.catalogue import schema
from headstock.catalogue.database import Database
from headstock.digest import Digest
from headstock.errors import FailedPrecondition, HeadstockError

WRITE_SECONDS = 3600.0
"""How long an unfinished pull or fine-tune is protected after its process died."""
_RENEWALS = 6

_log = logging.getLogger(__name__)


class Lease:
    """Keeps digests (artefacts with all they stand on, or blobs) from gc. Renew it before `seconds` are over."""

    def __init__(self, database: Database, identifier: str, seconds: float) -> None:
        self._database = database
        self.id = identifier
        self.seconds = seconds

    def __repr__(self) -> str:
        return f"Lease({self.id!r}, seconds={self.seconds})"

    def renew(self) -> None:
        """Start its `seconds` anew; raises `FailedPrecondition` if it was released or has expired and was swept."""
        self._update({"expires_at": time.time() + self.seconds})

    def replace(self, digests: Sequence[Digest]) -> None:
        """Keep these digests instead, and renew."""
        self._update({"digests": json.dumps(sorted(digests)), "expires_at": time.time() + self.seconds})

    def release(self) -> None:
        """Give it up. Releasing twice is fine."""
        with self._database.write(visible=False) as connection:
            connection.execute(sa.delete(schema.leases).where(schema.leases.c.id == self.id))

    def _update(self, values: dict[str, object]) -> None:
        with self._database.write(visible=False) as connection:
            found = connection.execute(sa.update(schema.leases).where(schema.leases.c.id == self.id).values(values))
            if found.rowcount == 0:
                raise FailedPrecondition(f"lease {self.id} has ended", fix="take a new one with Catalogue.lease")


def grant(
    database: Database, owner: str, kind: Literal["read", "write"], digests: Sequence[Digest], seconds: float
) -> Lease:
    """Write a new lease that expires `seconds` from now."""
    lease = Lease(database, secrets.token_hex(16), seconds)
    started = time.time()
    row = {
        "id": lease.id,
        "owner": owner[:128],
        "kind": kind,
        "digests": json.dumps(sorted(digests)),
        "started_at": started,
        "expires_at": started + seconds,
    }
    with database.write(visible=False) as connection:
        connection.execute(sa.insert(schema.leases).values(row))
    return lease


@contextmanager
def writing(database: Database, owner: str) -> Iterator[None]:
    """A write lease that a background thread renews until the block ends."""
    lease = grant(database, owner, "write", [], WRITE_SECONDS)
    done = threading.Event()
    keeper = threading.Thread(target=_keep, args=(lease, done), name=f"headstock-lease-{owner[:32]}", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        done.set()
        keeper.join()
        lease.release()


def _keep(lease: Lease, done: threading.Event) -> None:
    while not done.wait(lease.seconds / _RENEWALS):
        try:
            lease.renew()
        except HeadstockError as error:
            # There are several more tries before it expires; publish checks every blob in any case.
            _log.warning("write lease %s could not be renewed: %s", lease.id, error)


@dataclass(frozen=True, slots=True)
class Protected:
    """What the live leases keep."""

    digests: frozenset[str]
    """Artefacts and blobs named by read leases."""
    since: float | None
    """Start of the oldest live write lease, POSIX time; None if there is none."""


def protected(connection: sa.Connection) -> Protected:
    """What the leases keep that have not expired."""
    table, digests = schema.leases, set[str]()
    starts: list[float] = []
    for row in connection.execute(sa.select(table).where(table.c.expires_at > time.time())):
        digests.update(json.loads(row.digests))
        if row.kind == "write":
            starts.append(row.started_at)
    return Protected(frozenset(digests), min(starts, default=None))


def sweep(connection: sa.Connection) -> None:
    """Delete the expired leases."""
    connection.execute(sa.delete(schema.leases).where(schema.leases.c.expires_at <= time.time()))
