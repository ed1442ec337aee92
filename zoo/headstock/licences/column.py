"""The verdict column of a listing: values remembered between runs, computed again when anything has changed.

Judging a thousand models costs more than listing them, and importing what judges costs as much again. So the values
are kept in a cache file under a key of all that they depend on; a stale or unreadable file is only ever recomputed.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, get_args

from headstock import __version__
from headstock.catalogue.listing import Query, once, read_catalogue
from headstock.digest import digest_bytes, digest_json
from headstock.errors import HeadstockError
from headstock.licences.folder import FOLDER, state_of
from headstock.settings import Settings

if TYPE_CHECKING:
    from headstock.licences.values import Value

_CHANGES = """SELECT
    (SELECT max(id) FROM events WHERE action NOT IN ('promote', 'rollback')),
    (SELECT count(*) FROM evidence),
    (SELECT count(*) FROM edges)"""
"""What all verdicts depend on, the policy and its records apart: moving an alias changes none of them."""

POLICY_USE = ""
"""Stands for the use that the policy's own context describes."""


def verdict_column(settings: Settings, query: Query, purpose: str = POLICY_USE) -> dict[str, Value]:
    """Digest of every version's subject to `allow`, `unknown` or `deny`.

    `purpose` (`research`, `internal` or `commercial`) instead of the policy's own; the rest of the context is the
    policy's. `query` runs one SELECT and sees one state.
    """
    path = settings.cache / f"verdicts-{purpose or 'policy'}.json"
    key = _key(settings, query, purpose)
    try:
        kept = json.loads(path.read_bytes())
    except (OSError, ValueError):
        kept = None
    if isinstance(kept, dict) and kept.get("key") == key:
        values: dict[str, Value] = kept["values"]
        return values
    values = _judged(settings, query, purpose)
    _keep(settings, path.name, {"key": key, "values": values})
    return values


def refresh(settings: Settings) -> None:
    """Bring what is kept up to date, as the next listings would: whoever changed the catalogue has imported the most.

    Fails silently: a listing computes the same again, and says what is wrong.
    """
    from headstock.licences.context import Purpose

    kept = {path.stem.removeprefix("verdicts-") for path in settings.cache.glob("verdicts-*.json")}

    def read(query: Query) -> None:
        for purpose in (POLICY_USE, *sorted(kept & {*get_args(Purpose)})):
            verdict_column(settings, query, purpose)

    with suppress(HeadstockError, OSError):
        read_catalogue(settings, lambda query: read(once(query)))


def _key(settings: Settings, query: Query, purpose: str) -> str:
    policy = settings.home / "policy.toml"
    stated = digest_bytes(policy.read_bytes()) if policy.is_file() else ""
    changes = list(next(iter(query(_CHANGES))))
    records = [list(one) for one in state_of(settings.home / FOLDER)]
    # A bought licence may end tonight; Headstock's own records have no such day.
    day = datetime.now(UTC).date().isoformat() if records else ""
    return digest_json([__version__, str(settings.catalogue_url), changes, stated, records, day, purpose])


def _judged(settings: Settings, query: Query, purpose: str) -> dict[str, Value]:
    from headstock.licences.alike import values_of
    from headstock.licences.context import Context
    from headstock.licences.facts import Facts
    from headstock.licences.policy import Policy

    policy = Policy.load(settings)
    context = Context.from_mapping({"purpose": purpose}, policy.context) if purpose else policy.context
    facts = Facts.read(query)
    subjects = sorted({row[0] for row in query("SELECT subject FROM versions")})
    return values_of(facts, subjects, context, policy)


def _keep(settings: Settings, name: str, content: dict[str, Any]) -> None:
    target = settings.cache / name
    temporary = target.with_name(f"{name}.{os.getpid()}.tmp")
    try:
        settings.cache.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(content))
        temporary.replace(target)
    except OSError:
        # A cache that cannot be written (a read-only home) costs time on the next run, and nothing else.
        temporary.unlink(missing_ok=True)
