"""The audit log: a hash chain, so that a changed, missing or cut event shows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from headstock.catalogue import schema
from headstock.catalogue.views import Event
from headstock.digest import Digest, canonical_json, digest_json

_FIELDS = ("id", "at", "actor", "action", "subject", "detail", "previous")


def now() -> str:
    """The time, UTC, ISO 8601, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def append(connection: sa.Connection, actor: str, action: str, subject: str, detail: Mapping[str, Any]) -> None:
    """Add one event. The connection must be a writer's: the chain's head is read and moved."""
    state = connection.execute(sa.select(schema.state)).one()
    record: dict[str, Any] = {
        "id": state.events + 1,
        "at": now(),
        "actor": actor[:128],
        "action": action,
        "subject": subject[:256],
        "detail": dict(detail),
        "previous": state.head,
    }
    digest = digest_json(record)
    row = {**record, "detail": canonical_json(record["detail"]).decode(), "hash": digest}
    connection.execute(sa.insert(schema.events).values(row))
    connection.execute(sa.update(schema.state).values(events=record["id"], head=digest))


def read(connection: sa.Connection, limit: int) -> list[Event]:
    """The latest `limit` events, newest first."""
    rows = connection.execute(sa.select(schema.events).order_by(schema.events.c.id.desc()).limit(limit))
    return [_event(row) for row in rows]


def faults(connection: sa.Connection) -> Iterator[str]:
    """What is wrong with the chain, in words; nothing when it is whole."""
    state = connection.execute(sa.select(schema.state)).one()
    head, count = _genesis(), 0
    for row in connection.execute(sa.select(schema.events).order_by(schema.events.c.id)):
        count += 1
        if row.id != count:
            yield f"event {count} is missing"
            count = row.id
        try:
            event = _event(row)
        except ValueError:
            yield f"event {row.id} does not hold JSON"
        else:
            if digest_json({name: getattr(event, name) for name in _FIELDS}) != row.hash:
                yield f"event {row.id} was changed after it was written"
        if row.previous != head:
            yield f"event {row.id} does not follow the event before it"
        head = row.hash
    if (state.events, state.head) != (count, head):
        yield f"the log holds {count} events, but {state.events} were written"


def _event(row: Any) -> Event:
    return Event(
        row.id,
        row.at,
        row.actor,
        row.action,
        row.subject,
        json.loads(row.detail),
        Digest(row.previous),
        Digest(row.hash),
    )


def _genesis() -> str:
    from headstock.catalogue.database import GENESIS

    return GENESIS
