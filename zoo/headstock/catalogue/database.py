"""Open the catalogue's database: durable SQLite settings, one writer at a time, and the right schema or none."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from headstock.catalogue import schema
from headstock.catalogue.revision import HEAD
from headstock.errors import FailedPrecondition, HeadstockError, NotFound, Unavailable

MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY_SECONDS = 30
_WRITE = "headstock_write"
GENESIS = "sha256:" + "0" * 64
"""What the first event names as its predecessor."""


class Database:
    """An engine with two kinds of transaction: snapshots for reading, and writers that queue up."""

    def __init__(self, url: str, path: Path | None) -> None:
        self._path = path
        self.engine = _make_engine(url)

    @classmethod
    def open(cls, url: str, path: Path | None, *, create: bool) -> Database:
        """Open `url` (`path` when it is SQLite) at the schema of this version, migrating an older one.

        Raises `NotFound` if there is no database and `create` is false, `FailedPrecondition` for a newer schema.
        """
        if path is not None:
            if not create and not path.is_file():
                raise NotFound("there is no catalogue yet", fix="headstock pull SOURCE --name NAME")
            path.parent.mkdir(parents=True, exist_ok=True)
        database = cls(url, path)
        try:
            with database.read() as connection:
                found = _revision(connection)
            if found != HEAD:
                database._migrate()
        except BaseException:
            database.close()
            raise
        return database

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A snapshot: what it reads does not change under it."""
        with _domain_errors(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self, *, visible: bool = True) -> Iterator[sa.Connection]:
        """A transaction that no other writer overlaps; commits on success, leaves no trace otherwise.

        `visible` is false for writes that no reader has to look at again (leases).
        """
        with (
            _domain_errors(),
            self.engine.connect().execution_options(**{_WRITE: True}) as connection,
            connection.begin(),
        ):
            # The row lock makes writers queue up in PostgreSQL too.
            step = 1 if visible else 0
            connection.execute(sa.update(schema.state).values(generation=schema.state.c.generation + step))
            yield connection

    def check(self) -> list[str]:
        """What the database itself finds wrong with its file; empty when all is well."""
        if self.engine.dialect.name != "sqlite":
            return []
        with self.read() as connection:
            found = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check")]
            found += [
                f"row {row[1]} of {row[0]!r} names nothing in {row[2]!r}"
                for row in connection.exec_driver_sql("PRAGMA foreign_key_check")
            ]
        return [line for line in found if line != "ok"]

    def _migrate(self) -> None:
        """Bring the schema to HEAD in one transaction, after copying an existing database."""
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.set_main_option("path_separator", "os")
        with (
            _domain_errors(),
            self.engine.connect().execution_options(**{_WRITE: True}) as connection,
            connection.begin(),
        ):
            # Another process may have migrated while this one waited for the lock.
            found = _revision(connection)
            if found == HEAD:
                return
            if found is not None:
                self._back_up(found)
            config.attributes["connection"] = connection
            command.upgrade(config, HEAD)

    def _back_up(self, revision: str) -> None:
        if self._path is None:
            return  # a database server has its own backups
        target = self._path.with_name(f"{self._path.name}.before-{HEAD}-from-{revision}-{time.time_ns()}")
        source, copy = sqlite3.connect(self._path), sqlite3.connect(target)
        try:
            source.backup(copy)
        finally:
            source.close()
            copy.close()


def _revision(connection: sa.Connection) -> str | None:
    """The schema revision of the database, None for an empty one; raises `FailedPrecondition` for an unknown one."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    refuse_newer(found)
    return found


def refuse_newer(found: str | None) -> None:
    """Raise `FailedPrecondition` if a revision is newer than this version knows."""
    if found is not None and found > HEAD:
        raise FailedPrecondition(
            f"the catalogue has schema {found!r}, but this version knows only up to {HEAD!r}",
            fix="pip install --upgrade headstock, or restore the backup made before the migration",
        )


def _make_engine(url: str) -> sa.Engine:
    try:
        engine = sa.create_engine(url)
    except (sa.exc.ArgumentError, ModuleNotFoundError) as error:
        raise FailedPrecondition(
            f"the catalogue URL cannot be used: {error}",
            fix="set HEADSTOCK_CATALOGUE_URL to an SQLAlchemy URL",
        ) from error
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _configure_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: Any) -> None:
    # Transactions are begun by `_begin_sqlite`; the driver's own begin would come too late to order writers.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")
    deadline = time.monotonic() + _BUSY_SECONDS
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            # Changing the mode does not wait for other openers by itself.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: sa.Connection) -> None:
    # A writer takes the lock at once: upgrading a snapshot later could fail half way through.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get(_WRITE) else "BEGIN")


@contextmanager
def _domain_errors() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        reason = str(error.orig)
        if "locked" in reason or "busy" in reason:
            raise Unavailable(
                f"the catalogue is busy: another process held it for over {_BUSY_SECONDS} seconds",
                fix="try again",
            ) from error
        raise HeadstockError(
            f"the catalogue's database failed: {reason}",
            fix="check the disk's space and permissions, then headstock verify",
        ) from error
