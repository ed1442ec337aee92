"""The catalogue's tables, in SQL that SQLite and PostgreSQL both speak; JSON is kept as canonical text."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_DIGEST = String(71)
_NAME = String(64)
_TIME = String(20)


def _artefact(name: str, *, primary_key: bool = False, nullable: bool = False) -> Column[str]:
    return Column(name, _DIGEST, ForeignKey("artefacts.digest"), primary_key=primary_key, nullable=nullable)


state = Table(
    "state",
    metadata,
    Column("id", Integer, primary_key=True),  # one row; every writer updates it first, so writers queue up on it
    Column("generation", BigInteger, nullable=False),
    Column("events", Integer, nullable=False),  # length and head of the audit chain: a cut tail shows
    Column("head", _DIGEST, nullable=False),
)

artefacts = Table(
    "artefacts",
    metadata,
    Column("digest", _DIGEST, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("identity", Text, nullable=False),  # canonical JSON: its bytes hash to `digest`
    # True once gc took its blobs: the record stays because something descends from it.
    Column("erased", Boolean, nullable=False),
    Column("created_at", _TIME, nullable=False),
)

files = Table(
    "files",
    metadata,
    _artefact("artefact", primary_key=True),
    Column("role", String(128), primary_key=True),
    Column("blob", _DIGEST, nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    # True for blobs that the identity or the preprocessing spec names: needed like the others, not listed twice.
    Column("implied", Boolean, nullable=False),
)

edges = Table(
    "edges",
    metadata,
    _artefact("child", primary_key=True),
    Column("relation", String(32), primary_key=True),
    _artefact("parent", primary_key=True),
    Column("note", Text, nullable=False),
    Index("ix_edges_parent", "parent"),
)

evidence = Table(
    "evidence",
    metadata,
    Column("id", _DIGEST, primary_key=True),  # digest of the statement, its scope apart: the same one is kept once
    _artefact("subject"),
    Column("field", String(64), nullable=False),
    Column("value", Text, nullable=False),
    Column("source", String(64), nullable=False),
    Column("locator", Text, nullable=False),
    Column("raw", Text, nullable=False),
    Column("recorded_at", _TIME, nullable=False),
    Column("scope", String(16), nullable=False),  # empty where the source does not say what of the subject it means
    Index("ix_evidence_subject", "subject"),
)

certificates = Table(
    "certificates",
    metadata,
    _artefact("backbone", primary_key=True),
    Column("provider", String(64), primary_key=True),
    Column("tolerance", Float, nullable=False),
    Column("measured", Float, nullable=False),
    Column("shared", Boolean, nullable=False),
    Column("detail", Text, nullable=False),
    Column("recorded_at", _TIME, nullable=False),
)

entries = Table(
    "entries",
    metadata,
    Column("name", _NAME, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("next_version", Integer, nullable=False),  # outlives the versions: a number is never given twice
    Column("created_at", _TIME, nullable=False),
)

versions = Table(
    "versions",
    metadata,
    Column("name", _NAME, ForeignKey("entries.name"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("kind", String(16), nullable=False),
    _artefact("subject"),
    _artefact("backbone"),  # the subject itself, or what the model stands on
    Column("created_at", _TIME, nullable=False),
    Column("details", Text, nullable=False),
    Index("ix_versions_subject", "subject"),
    Index("ix_versions_backbone", "backbone"),
)

aliases = Table(
    "aliases",
    metadata,
    Column("name", _NAME, primary_key=True),
    Column("alias", _NAME, primary_key=True),
    Column("number", Integer, nullable=False),
    # The database itself refuses to remove a version that an alias points to.
    ForeignKeyConstraint(["name", "number"], ["versions.name", "versions.number"]),
)

alias_history = Table(
    "alias_history",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", _NAME, nullable=False),
    Column("alias", _NAME, nullable=False),
    Column("action", String(16), nullable=False),
    Column("number", Integer),  # none when the alias went away with its entry
    Column("previous", Integer),
    Column("at", _TIME, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("reason", Text, nullable=False),
    Index("ix_alias_history_name", "name", "alias"),
)

leases = Table(
    "leases",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("kind", String(16), nullable=False),  # read: keeps the digests; write: keeps blobs put since started_at
    Column("digests", Text, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("at", _TIME, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("action", String(32), nullable=False),
    Column("subject", String(256), nullable=False),
    Column("detail", Text, nullable=False),
    Column("previous", _DIGEST, nullable=False),
    Column("hash", _DIGEST, nullable=False),
)
