"""Aliases: movable names of versions, with a history that is only appended to."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from headstock.catalogue import audit, entries, schema
from headstock.catalogue.views import AliasChange
from headstock.errors import FailedPrecondition
from headstock.names import check_alias


def history(connection: sa.Connection, name: str, alias: str) -> list[AliasChange]:
    """Every move of an alias, oldest first."""
    table = schema.alias_history
    query = sa.select(table).where(table.c.name == name, table.c.alias == alias).order_by(table.c.id)
    return [_change(row) for row in connection.execute(query)]


def promote(connection: sa.Connection, actor: str, name: str, number: int, alias: str, reason: str) -> AliasChange:
    """Point the alias at a version; see `Catalogue.promote`."""
    check_alias(alias)
    entries.exact(connection, name, number)
    return _move(connection, actor, "promote", name, number, alias, reason)


def rollback(connection: sa.Connection, actor: str, name: str, alias: str, reason: str) -> AliasChange:
    """Point the alias where it pointed before; see `Catalogue.rollback`."""
    current = entries.aliases(connection, name).get(alias)
    if current is None:
        entries.newest(connection, name)
        raise FailedPrecondition(
            f"{name!r} has no alias {alias!r} to roll back", fix=f"headstock promote {name}:NUMBER {alias}"
        )
    alive = {version.number for version in entries.versions(connection, name, None)}
    target = _before(history(connection, name, alias), alive)
    if target is None:
        raise FailedPrecondition(
            f"alias {alias!r} of {name!r} points to version {current} and no earlier target is left",
            fix=f"headstock promote {name}:NUMBER {alias}",
        )
    return _move(connection, actor, "rollback", name, target, alias, reason)


def targets(connection: sa.Connection) -> set[tuple[str, int]]:
    """Every version that an alias points to or could be rolled back to."""
    table = schema.alias_history
    query = sa.select(table.c.name, table.c.number).where(table.c.number.is_not(None)).distinct()
    return {(row.name, row.number) for row in connection.execute(query)}


def _before(changes: list[AliasChange], alive: set[int]) -> int | None:
    """The target before the current one, as an undo stack: rolling back twice goes back two steps, it does not return
    to the version that was just abandoned. Versions that were removed are skipped."""
    stack: list[int] = []
    for change in changes:
        if change.action == "rollback":
            # Back to the last place where the target was this one.
            while stack and stack[-1] != change.number:
                stack.pop()
        elif change.number is None:
            stack.clear()
        elif not stack or stack[-1] != change.number:
            stack.append(change.number)
    current = stack[-1] if stack else None
    earlier = [number for number in stack[:-1] if number in alive and number != current]
    return earlier[-1] if earlier else None


def _move(
    connection: sa.Connection, actor: str, action: str, name: str, number: int, alias: str, reason: str
) -> AliasChange:
    table, previous = schema.aliases, entries.aliases(connection, name).get(alias)
    key = (table.c.name == name, table.c.alias == alias)
    if previous is None:
        connection.execute(sa.insert(table).values(name=name, alias=alias, number=number))
    else:
        connection.execute(sa.update(table).where(*key).values(number=number))
    row = {
        "name": name,
        "alias": alias,
        "action": action,
        "number": number,
        "previous": previous,
        "at": audit.now(),
        "actor": actor[:128],
        "reason": reason,
    }
    connection.execute(sa.insert(schema.alias_history).values(row))
    detail = {"number": number, "previous": previous, "reason": reason}
    audit.append(connection, actor, action, f"{name}:{alias}", detail)
    return history(connection, name, alias)[-1]


def _change(row: Any) -> AliasChange:
    return AliasChange(row.name, row.alias, row.number, row.previous, row.at, row.actor, row.reason, row.action)
