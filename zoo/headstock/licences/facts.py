"""What verdicts are made from: kinds, parts, lineage, statements and decisions, read once from the catalogue."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from headstock.catalogue.listing import ARTEFACTS, EDGES, parsed
from headstock.digest import Digest, digest_json
from headstock.errors import Corrupt, NotFound
from headstock.evidence import Evidence
from headstock.licences.checkpoints import known_statements

Query = Callable[[str], Iterable[Any]]

PARTS = ("adapter", "backbone", "head")
_EVENT_FIELDS = ("id", "at", "actor", "action", "subject", "detail", "previous")
_INPUTS = {"pixel_values": "image", "input_ids": "text", "input_values": "audio", "features": "audio"}

_OWN = ("head", "adapter", "model")

MADE_HERE = "made_here"
"""Field of the statement that weights were made on this installation and came from no source."""

TEXT_ROLES = ("licence", "model-licence", "notice", "use-policy")
"""Roles of the files that hold licence texts, notices and incorporated policies."""

CONCLUDE = "conclude"
"""Action of the audit events that hold decisions."""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """Somebody's decision about an artefact's licence; the newest one counts."""

    subject: Digest
    expression: str
    """Empty when an earlier decision was withdrawn."""
    reason: str
    actor: str
    at: str
    event: int
    """Number of the audit event that holds it."""


@dataclass(frozen=True)
class Facts:
    """A snapshot. Everything is plain data, so verdicts need no database."""

    kinds: Mapping[str, str]
    identities: Mapping[str, str]
    """Digest to identity, as JSON text."""
    edges: Mapping[str, tuple[tuple[str, str], ...]]
    """Child to (relation, parent), sorted."""
    statements: Mapping[str, tuple[Evidence, ...]]
    conclusions: Mapping[str, Conclusion]
    files: Mapping[str, Mapping[str, Digest]] = field(default_factory=dict)
    """Artefact to role to blob, of the roles that hold licence texts."""

    @classmethod
    def build(
        cls,
        artefacts: Mapping[str, Mapping[str, Any]],
        edges: Iterable[tuple[str, str, str]] = (),
        statements: Iterable[Evidence] = (),
        conclusions: Iterable[Conclusion] = (),
    ) -> Facts:
        """Facts of identities (each with its `kind`), edges (child, relation, parent) and statements."""
        return cls(
            {digest: str(identity["kind"]) for digest, identity in artefacts.items()},
            {digest: json.dumps(dict(identity)) for digest, identity in artefacts.items()},
            _group(edges),
            _by_subject(statements),
            _newest(conclusions),
        )

    @classmethod
    def read(cls, query: Query) -> Facts:
        """Facts of a catalogue; `query` runs one SELECT. Raises `Corrupt` for a decision whose event was changed."""
        rows = list(query(ARTEFACTS))
        evidence = query("SELECT subject, field, value, source, locator, raw, scope FROM evidence")
        files: dict[str, dict[str, Digest]] = {}
        for artefact, role, blob in query(
            f"SELECT artefact, role, blob FROM files WHERE role IN {TEXT_ROLES} ORDER BY artefact, role"
        ):
            files.setdefault(artefact, {})[role] = Digest(blob)
        return cls(
            {digest: kind for digest, kind, _ in rows},
            {digest: identity for digest, _, identity in rows},
            _group(query(EDGES)),
            _by_subject(Evidence(Digest(r[0]), *r[1:]) for r in evidence),
            _newest(conclusions(query)),
            files,
        )

    def identity(self, digest: str) -> dict[str, Any]:
        """The identity of an artefact; raises `NotFound`."""
        if digest not in self.identities:
            raise NotFound(f"there is no artefact {digest[:19]!r} in the catalogue", fix="headstock list --all")
        value: dict[str, Any] = json.loads(self.identities[digest])
        return value

    def label(self, digest: str) -> str:
        """What a person calls it: `backbone bert`, `source hf:ORG/NAME@COMMIT`."""
        known = self._labels.get(digest)
        if known is None:
            known = self._labels[digest] = self._label(digest)
        return known

    @cached_property
    def _labels(self) -> dict[str, str]:
        return {}

    def _label(self, digest: str) -> str:
        identity = self.identity(digest)
        keys = ("spec", "name", "type", "family", "distribution")
        name = next((str(identity[key]) for key in keys if identity.get(key)), "")
        return f"{self.kinds[digest]} {name}".strip()

    def parts(self, digest: str) -> list[tuple[str, str]]:
        """What a model is made of: (part, digest), sorted; nothing for other kinds."""
        if self.kinds.get(digest) != "model":
            return []
        known = self._parts.get(digest)
        if known is None:
            identity = parsed(self.identities[digest])
            known = self._parts[digest] = [(part, identity[part]) for part in PARTS if identity.get(part)]
        return known

    @cached_property
    def _parts(self) -> dict[str, list[tuple[str, str]]]:
        return {}

    def steps(self, digest: str) -> Sequence[tuple[str, str]]:
        """(Relation, parent) of its edges, after `composed_of` for the parts of a model."""
        edges = self.edges.get(digest, ())
        parts = self.parts(digest)
        return [*[("composed_of", parent) for _, parent in parts], *edges] if parts else edges

    def modality(self, digest: str) -> str:
        """`text`, `image`, `audio`, `multimodal`, or empty where nothing says it."""
        stated = [s.value for s in self.statements.get(digest, ()) if s.field == "modality"]
        if stated or self.kinds[digest] != "backbone":
            return stated[0] if len(set(stated)) == 1 else ""
        inputs = {i.get("name", "") for i in self.identity(digest).get("inputs", [])}
        found = {modality for name, modality in _INPUTS.items() if name in inputs}
        return found.pop() if len(found) == 1 else "multimodal" if found else ""

    def made_here(self, digest: str) -> bool:
        """True for what was made on this installation: its terms are those of what it was made from.

        What came from a source is never taken for our own, whatever else is said about it; what was converted from
        another artefact of the catalogue (a variant at half precision) can be.
        """
        steps = self.edges.get(digest, ())
        if any(relation == "converted_from" and self.kinds.get(parent) == "source" for relation, parent in steps):
            return False
        return self.said_made_here(digest)

    def said_made_here(self, digest: str) -> bool:
        """`made_here` as far as statements go, lineage apart.

        Heads, adapters and models are made here unless a source speaks of them, even one that names no licence.
        """
        said = self.statements.get(digest)
        if not said:
            return self.kinds.get(digest) in _OWN
        if any(s.field == MADE_HERE for s in said):
            return True
        return self.kinds.get(digest) in _OWN and not any(s.field == "licence" for s in said)

    def own_statements(self, digest: str) -> tuple[Evidence, ...]:
        """Licence statements that are kept with the artefact itself."""
        said = self.statements.get(digest)
        return tuple(s for s in said if s.field == "licence") if said else ()

    def statements_about(self, digest: str) -> tuple[Evidence, ...]:
        """Licence statements about an artefact.

        A source that was never fetched has what its repository said wherever that was read, else what is commonly
        known about it. Lineage plays no part in this: adding an edge must never make a licence known.
        """
        own = self.own_statements(digest)
        if own or self.kinds[digest] != "source":
            return own
        repository = repository_of(str(self.identity(digest).get("spec", "")))
        return tuple(self._said_by.get(repository, ())) or known_statements(repository, Digest(digest))

    @cached_property
    def _said_by(self) -> dict[str, list[Evidence]]:
        """Repository to the licence statements read there."""
        found: dict[str, list[Evidence]] = {}
        for subject in sorted(self.statements):
            for statement in self.statements[subject]:
                if statement.field == "licence" and "@" in statement.locator:
                    found.setdefault(repository_of(statement.locator), []).append(statement)
        return found

    def with_conclusion(self, digest: Digest, expression: str) -> Facts:
        """The same facts if somebody decided so: for what-if questions."""
        decision = Conclusion(digest, expression, "what if", "", "", 0)
        return replace(self, conclusions={**self.conclusions, digest: decision})


def repository_of(spec: str) -> str:
    """`hf:ORG/NAME@COMMIT` without its revision."""
    return spec.partition("@")[0]


def conclusions(query: Query) -> list[Conclusion]:
    """Every decision in the audit log, oldest first; raises `Corrupt` if an event is not what was written."""
    columns = ", ".join(_EVENT_FIELDS)
    found = []
    for row in query(f"SELECT {columns}, hash FROM events WHERE action = '{CONCLUDE}' ORDER BY id"):
        record = dict(zip(_EVENT_FIELDS, row, strict=False))
        record["detail"] = json.loads(record["detail"])
        if digest_json(record) != row[len(_EVENT_FIELDS)]:
            raise Corrupt(f"the decision in audit event {record['id']} was changed", fix="headstock audit verify")
        detail = record["detail"]
        subject = Digest(record["subject"])
        found.append(
            Conclusion(subject, detail["expression"], detail["reason"], record["actor"], record["at"], record["id"])
        )
    return found


def _group(edges: Iterable[Any]) -> dict[str, tuple[tuple[str, str], ...]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for child, relation, parent in edges:
        found.setdefault(child, []).append((relation, parent))
    return {child: tuple(sorted(set(s)) if len(s) > 1 else s) for child, s in found.items()}


def _by_subject(statements: Iterable[Evidence]) -> dict[str, tuple[Evidence, ...]]:
    found: dict[str, list[Evidence]] = {}
    for statement in statements:
        found.setdefault(statement.subject, []).append(statement)
    return {s: tuple(sorted(v, key=lambda e: (e.field, e.source, e.locator, e.value, e.raw))) for s, v in found.items()}


def _newest(decisions: Iterable[Conclusion]) -> dict[str, Conclusion]:
    latest = {d.subject: d for d in sorted(decisions, key=lambda d: d.event)}
    return {subject: decision for subject, decision in latest.items() if decision.expression}
