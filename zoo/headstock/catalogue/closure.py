"""What reaches what: the parts that a version needs to serve, and the ancestors that its lineage names."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from headstock.catalogue import aliases, schema
from headstock.digest import Digest

_PARTS = ("backbone", "head", "adapter")
_RECORDS = ("source", "dataset", "plugin")
"""Kinds whose few blobs (cards, manifests) are kept with what descends from them."""


class Graph:
    """The catalogue's artefacts and edges, read once."""

    def __init__(self, connection: sa.Connection) -> None:
        self.kinds: dict[str, str] = {}
        self.parts: dict[str, list[str]] = {}
        for row in connection.execute(sa.select(schema.artefacts)):
            self.kinds[row.digest] = row.kind
            self.parts[row.digest] = list(parts(row.kind, row.identity).values())
        self.parents: dict[str, list[str]] = {}
        for row in connection.execute(sa.select(schema.edges)):
            self.parents.setdefault(row.child, []).append(row.parent)

    def composition(self, roots: Iterable[str]) -> set[str]:
        """The roots and all that they need to serve: heads, adapters, backbones."""
        return _reach(roots, self.parts)

    def lineage(self, roots: Iterable[str]) -> set[str]:
        """The roots, all that they need, and every ancestor of those."""
        both = {digest: [*self.parts[digest], *self.parents.get(digest, [])] for digest in self.parts}
        return _reach(roots, both)


def parts(kind: str, identity: str) -> dict[str, str]:
    """What a model, head or adapter is made of, by part; empty for other kinds and for an unreadable identity."""
    if kind not in ("model", "head", "adapter"):
        return {}
    try:
        value = json.loads(identity)
    except ValueError:
        return {}  # `verify` reports it, and must get that far
    return {part: value[part] for part in _PARTS if value.get(part)}


@dataclass(frozen=True, slots=True)
class Reach:
    """What must be kept."""

    records: frozenset[str]
    """Artefacts whose rows stay."""
    bytes: frozenset[str]
    """Artefacts whose blobs stay."""


def reach(connection: sa.Connection, leased: Iterable[str]) -> Reach:
    """Everything reachable from versions, alias history and `leased` digests."""
    graph = Graph(connection)
    table = schema.versions
    wanted = {(row.name, row.number): row.subject for row in connection.execute(sa.select(table))}
    # A removed version is no root even where the history of an alias still mentions it: rollback skips it.
    history = {wanted[target] for target in aliases.targets(connection) if target in wanted}
    roots = {digest for digest in {*wanted.values(), *history, *leased} if digest in graph.kinds}
    composition = graph.composition(roots)
    sources = {
        parent
        for digest in composition
        for parent in graph.parents.get(digest, [])
        if graph.kinds.get(parent) in _RECORDS
    }
    return Reach(frozenset(graph.lineage(composition)), frozenset(composition | sources))


def versions_by_artefact(connection: sa.Connection) -> dict[Digest, list[str]]:
    """Artefact to the versions that need it to serve, as `NAME:NUMBER`."""
    graph = Graph(connection)
    found: dict[Digest, list[str]] = {}
    table = schema.versions
    for row in connection.execute(sa.select(table).order_by(table.c.name, table.c.number)):
        for digest in graph.composition([row.subject]):
            found.setdefault(Digest(digest), []).append(f"{row.name}:{row.number}")
    return found


def _reach(roots: Iterable[str], steps: dict[str, list[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [root for root in roots if root in steps]
    while waiting:
        digest = waiting.pop()
        if digest not in found:
            found.add(digest)
            waiting += [step for step in steps[digest] if step in steps]
    return found
