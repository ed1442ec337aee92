"""Entries and their versions: look-up by reference, and removal."""

from __future__ import annotations

import json
from difflib import get_close_matches
from typing import Any

import sqlalchemy as sa

from headstock.catalogue import audit, schema
from headstock.digest import Digest
from headstock.errors import FailedPrecondition, NotFound
from headstock.names import Reference, is_number
from headstock.records import PRODUCTION, EntryKind, Version


def to_version(row: Any) -> Version:
    """A row of `versions` as a record."""
    return Version(row.name, row.number, row.kind, Digest(row.subject), row.created_at, json.loads(row.details))


def names(connection: sa.Connection, kind: EntryKind | None) -> list[str]:
    """Names that have a version."""
    table = schema.versions
    query = sa.select(table.c.name).distinct().order_by(table.c.name)
    if kind is not None:
        query = query.where(table.c.kind == kind)
    return list(connection.execute(query).scalars())


def versions(connection: sa.Connection, name: str | None, kind: EntryKind | None) -> list[Version]:
    """Versions by name, newest first."""
    table = schema.versions
    query = sa.select(table).order_by(table.c.name, table.c.number.desc())
    if name is not None:
        query = query.where(table.c.name == name)
    if kind is not None:
        query = query.where(table.c.kind == kind)
    return [to_version(row) for row in connection.execute(query)]


def aliases(connection: sa.Connection, name: str) -> dict[str, int]:
    """Alias to version number."""
    table = schema.aliases
    query = sa.select(table.c.alias, table.c.number).where(table.c.name == name).order_by(table.c.alias)
    return {row.alias: row.number for row in connection.execute(query)}


def all_aliases(connection: sa.Connection) -> dict[str, dict[str, int]]:
    """Name to alias to version number, for names that have any."""
    table = schema.aliases
    query = sa.select(table.c.name, table.c.alias, table.c.number).order_by(table.c.name, table.c.alias)
    found: dict[str, dict[str, int]] = {}
    for row in connection.execute(query):
        found.setdefault(row.name, {})[row.alias] = row.number
    return found


def newest(connection: sa.Connection, name: str) -> Version:
    """The highest version; raises `NotFound` with near names."""
    table = schema.versions
    query = sa.select(table).where(table.c.name == name).order_by(table.c.number.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise _no_entry(connection, name)
    return to_version(row)


def exact(connection: sa.Connection, name: str, number: int) -> Version:
    """One version by number; raises `NotFound` with the numbers that exist."""
    table = schema.versions
    row = connection.execute(sa.select(table).where(table.c.name == name, table.c.number == number)).one_or_none()
    if row is None:
        newest(connection, name)
        numbers = [v.number for v in versions(connection, name, None)]
        raise NotFound(
            f"{name!r} has no version {number}; it has {', '.join(map(str, sorted(numbers)))}",
            fix=f"headstock list --all, or {name}:{max(numbers)}",
        )
    return to_version(row)


def resolve(connection: sa.Connection, reference: Reference) -> Version:
    """The version that a reference means; raises `NotFound` with what exists."""
    name, selector = reference.name, reference.selector
    if is_number(selector):
        return exact(connection, name, int(selector))
    known = aliases(connection, name)
    alias = selector or PRODUCTION
    if alias in known:
        return exact(connection, name, known[alias])
    latest = newest(connection, name)
    if not selector:
        return latest
    near = get_close_matches(selector, known, n=1)
    what = f"its aliases are {', '.join(known)}" if known else "it has no aliases yet"
    raise NotFound(
        f"{name!r} has no alias {selector!r}; {what}",
        fix=f"{name}:{near[0]}" if near else f"headstock promote {name}:{latest.number} {selector}",
    )


def remove(connection: sa.Connection, actor: str, name: str, number: int | None, reason: str) -> None:
    """Remove a version, or the entry with its aliases; see `Catalogue.remove`."""
    gone = check_removal(connection, name, number)
    if number is None:
        _drop_aliases(connection, actor, name, reason)
    table = schema.versions
    for version in gone:
        connection.execute(sa.delete(table).where(table.c.name == name, table.c.number == version.number))
    numbers = [v.number for v in gone]
    subject = name if number is None else f"{name}:{number}"
    audit.append(connection, actor, "remove", subject, {"numbers": numbers, "reason": reason})


def check_removal(connection: sa.Connection, name: str, number: int | None) -> list[Version]:
    """The versions that would go; raises `NotFound`, or `FailedPrecondition` when something stands on one of them."""
    if number is None:
        newest(connection, name)
        gone = versions(connection, name, None)
    else:
        gone = [exact(connection, name, number)]
        pointing = [alias for alias, target in aliases(connection, name).items() if target == number]
        if pointing:
            raise FailedPrecondition(
                f"{name}:{number} cannot be removed: alias {pointing[0]!r} points to it",
                fix=f"headstock promote another version to {pointing[0]} first, or remove the whole entry {name!r}",
            )
    for version in gone:
        if version.kind == "backbone":
            _refuse_if_stood_on(connection, version)
    return gone


def _refuse_if_stood_on(connection: sa.Connection, version: Version) -> None:
    table = schema.versions
    query = sa.select(table.c.name, table.c.number).where(table.c.backbone == version.subject, table.c.kind == "model")
    models = [f"{row.name}:{row.number}" for row in connection.execute(query.order_by(table.c.name, table.c.number))]
    if models:
        listed = ", ".join(models[:5]) + (f" and {len(models) - 5} more" if len(models) > 5 else "")
        raise FailedPrecondition(
            f"{version} cannot be removed: {listed} {'stands' if len(models) == 1 else 'stand'} on it",
            fix=f"headstock remove {models[0]} first",
        )


def _drop_aliases(connection: sa.Connection, actor: str, name: str, reason: str) -> None:
    for alias, number in aliases(connection, name).items():
        row = {
            "name": name,
            "alias": alias,
            "action": "remove",
            "number": None,
            "previous": number,
            "at": audit.now(),
            "actor": actor,
            "reason": reason,
        }
        connection.execute(sa.insert(schema.alias_history).values(row))
    connection.execute(sa.delete(schema.aliases).where(schema.aliases.c.name == name))


def _no_entry(connection: sa.Connection, name: str) -> NotFound:
    known = names(connection, None)
    near = get_close_matches(name, known, n=3)
    if near:
        return NotFound(f"there is no entry {name!r}; did you mean {' or '.join(map(repr, near))}?", fix=near[0])
    if not known:
        return NotFound(f"there is no entry {name!r}; the catalogue is empty", fix="headstock pull SOURCE --name NAME")
    listed = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
    return NotFound(f"there is no entry {name!r}; there are {listed}", fix="headstock list")
