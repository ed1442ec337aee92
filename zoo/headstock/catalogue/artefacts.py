"""Artefacts and what hangs on them: files, lineage, evidence, certificates."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, cast

import sqlalchemy as sa

from headstock.catalogue import schema
from headstock.catalogue.audit import now
from headstock.digest import Digest, canonical_json, digest_bytes, digest_json, short
from headstock.errors import Corrupt, NotFound
from headstock.records import Artefact, Certificate, Edge, Evidence, Relation

_BATCH = 500  # SQLite's limit of variables in one statement is 999 in old builds


def read(connection: sa.Connection, digest: Digest) -> Artefact:
    """The artefact of that digest; raises `NotFound`."""
    found = read_many(connection, [digest])
    if not found:
        raise NotFound(f"there is no artefact {short(digest)} in the catalogue", fix="headstock list --all")
    return found[digest]


def read_many(connection: sa.Connection, digests: Collection[str]) -> dict[Digest, Artefact]:
    """Those of `digests` that are in the catalogue."""
    files: dict[str, dict[str, Digest]] = {}
    table = schema.files
    for row in _select_in(connection, sa.select(table).where(~table.c.implied), table.c.artefact, digests):
        files.setdefault(row.artefact, {})[row.role] = Digest(row.blob)
    rows = _select_in(connection, sa.select(schema.artefacts), schema.artefacts.c.digest, digests)
    return {Digest(row.digest): _artefact(row, files.get(row.digest, {})) for row in rows}


def _artefact(row: Any, files: Mapping[str, Digest]) -> Artefact:
    if digest_bytes(row.identity.encode()) != row.digest:
        raise Corrupt(f"the identity of {row.kind} {short(row.digest)} was changed", fix="headstock verify")
    return Artefact(Digest(row.digest), row.kind, json.loads(row.identity), dict(sorted(files.items())))


def edges(connection: sa.Connection, child: Digest | None, parent: Digest | None) -> list[Edge]:
    """Lineage edges, narrowed to a child, a parent or both."""
    table = schema.edges
    query = sa.select(table).order_by(table.c.child, table.c.relation, table.c.parent)
    if child is not None:
        query = query.where(table.c.child == child)
    if parent is not None:
        query = query.where(table.c.parent == parent)
    return [
        Edge(Digest(row.child), cast(Relation, row.relation), Digest(row.parent), row.note)
        for row in connection.execute(query)
    ]


def evidence(connection: sa.Connection, subject: Digest) -> list[Evidence]:
    """Every statement about one artefact, in a stable order."""
    table = schema.evidence
    query = sa.select(table).where(table.c.subject == subject).order_by(table.c.field, table.c.source, table.c.id)
    return [
        Evidence(Digest(row.subject), row.field, row.value, row.source, row.locator, row.raw, row.scope)
        for row in connection.execute(query)
    ]


def certificate(connection: sa.Connection, backbone: Digest, provider: str | None) -> Certificate | None:
    """The latest isolation certificate of a backbone, or that of one execution provider."""
    table = schema.certificates
    newest = (table.c.recorded_at.desc(), table.c.provider)
    query = sa.select(table).where(table.c.backbone == backbone).order_by(*newest).limit(1)
    if provider is not None:
        query = query.where(table.c.provider == provider)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    return Certificate(
        Digest(row.backbone), row.tolerance, row.measured, row.shared, row.provider, json.loads(row.detail)
    )


# ---------------------------------------------------------------------------------------------- writing
def write(connection: sa.Connection, artefact: Artefact) -> None:
    """Insert the artefact's record unless it is there; its digest names its content, so that never changes."""
    table = schema.artefacts
    revived = connection.execute(sa.update(table).where(table.c.digest == artefact.digest).values(erased=False))
    if revived.rowcount == 0:
        text = canonical_json(artefact.identity).decode()
        row = {"digest": artefact.digest, "kind": artefact.kind, "identity": text, "erased": False}
        connection.execute(sa.insert(table).values(**row, created_at=now()))


def write_files(
    connection: sa.Connection, artefact: Digest, files: Mapping[str, tuple[Digest, int]], *, implied: bool
) -> None:
    """Set the blobs of an artefact by role; `files` maps a role to blob and size. Roles not named stay."""
    table = schema.files
    for role, (blob, size) in files.items():
        connection.execute(sa.delete(table).where(table.c.artefact == artefact, table.c.role == role))
        row = {"artefact": artefact, "role": role, "blob": blob, "size": size, "implied": implied}
        connection.execute(sa.insert(table).values(row))


def write_edges(connection: sa.Connection, items: Iterable[Edge]) -> None:
    """Insert the edges that are not there yet."""
    table = schema.edges
    for edge in items:
        key = (table.c.child == edge.child, table.c.relation == edge.relation, table.c.parent == edge.parent)
        if connection.execute(sa.select(table.c.child).where(*key)).first() is None:
            row = {"child": edge.child, "relation": edge.relation, "parent": edge.parent, "note": edge.note}
            connection.execute(sa.insert(table).values(row))


def write_evidence(connection: sa.Connection, items: Iterable[Evidence]) -> None:
    """Insert the statements that are not there yet; contradicting ones are kept side by side.

    One that was recorded without a scope takes that of the same statement now.
    """
    table = schema.evidence
    for item in items:
        row = {
            "subject": item.subject,
            "field": item.field,
            "value": item.value,
            "source": item.source,
            "locator": item.locator,
            "raw": item.raw[:200],
        }
        identifier = digest_json(row)
        known = connection.execute(sa.select(table.c.scope).where(table.c.id == identifier)).first()
        if known is None:
            connection.execute(sa.insert(table).values(**row, id=identifier, scope=item.scope, recorded_at=now()))
        elif item.scope and not known.scope:
            connection.execute(sa.update(table).where(table.c.id == identifier).values(scope=item.scope))


def write_certificates(connection: sa.Connection, items: Iterable[Certificate]) -> None:
    """Set the certificate of each backbone and provider; a new measurement replaces the old one."""
    table = schema.certificates
    for item in items:
        connection.execute(sa.delete(table).where(table.c.backbone == item.backbone, table.c.provider == item.provider))
        row = {
            "backbone": item.backbone,
            "provider": item.provider,
            "tolerance": item.tolerance,
            "measured": item.measured,
            "shared": item.shared,
            "detail": canonical_json(dict(item.detail)).decode(),
            "recorded_at": now(),
        }
        connection.execute(sa.insert(table).values(row))


def erase(connection: sa.Connection, digests: Sequence[str]) -> None:
    """Delete artefacts with all that hangs on them. The caller knows that nothing names them."""
    columns = (
        schema.files.c.artefact,
        schema.edges.c.child,
        schema.edges.c.parent,
        schema.evidence.c.subject,
        schema.certificates.c.backbone,
        schema.artefacts.c.digest,
    )
    for column in columns:
        for batch in _batches(digests):
            connection.execute(sa.delete(column.table).where(column.in_(batch)))


def erase_files(connection: sa.Connection, digests: Sequence[str]) -> None:
    """Forget the blobs of artefacts whose record stays for lineage."""
    table = schema.artefacts
    for batch in _batches(digests):
        connection.execute(sa.delete(schema.files).where(schema.files.c.artefact.in_(batch)))
        connection.execute(sa.update(table).where(table.c.digest.in_(batch)).values(erased=True))


def erased(connection: sa.Connection, digests: Collection[str]) -> set[str]:
    """Those of `digests` whose blobs gc took."""
    table = schema.artefacts
    rows = _select_in(connection, sa.select(table.c.digest).where(table.c.erased), table.c.digest, digests)
    return {row.digest for row in rows}


def _select_in(
    connection: sa.Connection, query: sa.Select[Any], column: sa.Column[Any], values: Collection[str]
) -> Iterable[Any]:
    for batch in _batches(sorted(values)):
        yield from connection.execute(query.where(column.in_(batch)))


def _batches(values: Sequence[str]) -> Iterable[Sequence[str]]:
    for start in range(0, len(values), _BATCH):
        yield values[start : start + _BATCH]
