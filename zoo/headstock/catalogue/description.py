"""Everything the catalogue knows about one version, gathered as JSON values: what `headstock show` prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from headstock.digest import Digest
from headstock.records import Artefact, Evidence, Version

if TYPE_CHECKING:
    from headstock.catalogue.catalogue import Catalogue

NOASSERTION = "NOASSERTION"


def describe(catalogue: Catalogue, version: Version) -> dict[str, Any]:
    """All that is known about a version. Blobs are named, not read."""
    members = _members(catalogue, version)
    family = _family_tree(catalogue, members)
    backbone = members["backbone"]
    certificate = catalogue.certificate(backbone.digest)
    aliases = catalogue.aliases(version.name)
    return {
        "name": version.name,
        "version": version.number,
        "newest": catalogue.newest(version.name).number == version.number,
        "kind": version.kind,
        "created_at": version.created_at,
        "aliases": [alias for alias, number in aliases.items() if number == version.number],
        "alias_history": {a: [asdict(c) for c in catalogue.alias_history(version.name, a)] for a in aliases},
        "digests": {part: artefact.digest for part, artefact in members.items()},
        "backbone": {**_without_kind(backbone), "entries": _holders(catalogue, backbone.digest)},
        "head": _without_kind(members["head"]) if "head" in members else None,
        "files": [row for part, artefact in members.items() for row in _files(catalogue, part, artefact)],
        "licence": _licence(catalogue, family.values()),
        "statements": [
            _statement(item, family[item.subject])
            for item in _evidence(catalogue, family.values())
            if item.field != "licence"
        ],
        "lineage": _tree(catalogue, members.get("model", backbone), set()),
        "certificate": None if certificate is None else asdict(certificate),
        "details": dict(version.details),
    }


def label(kind: str, identity: Mapping[str, Any]) -> str:
    """What a person calls an artefact that may have no entry: a source's address, a data set's name, a head's type."""
    keys = ("spec", "name", "type", "family", "distribution")
    return str(next((identity[key] for key in keys if identity.get(key)), kind))


def _members(catalogue: Catalogue, version: Version) -> dict[str, Artefact]:
    """The version's parts, outermost first: model, adapter, head, backbone."""
    subject = catalogue.artefact(version.subject)
    if subject.kind == "backbone":
        return {"backbone": subject}
    parts = {part: subject.identity.get(part) for part in ("adapter", "head", "backbone")}
    return {"model": subject} | {part: catalogue.artefact(Digest(d)) for part, d in parts.items() if d}


def _family_tree(catalogue: Catalogue, members: Mapping[str, Artefact]) -> dict[Digest, Artefact]:
    """The members and all their ancestors."""
    waiting, found = list(members.values()), dict[Digest, Artefact]()
    while waiting:
        artefact = waiting.pop(0)
        if artefact.digest not in found:
            found[artefact.digest] = artefact
            waiting += [catalogue.artefact(edge.parent) for edge in catalogue.edges(child=artefact.digest)]
    return found


def _holders(catalogue: Catalogue, backbone: Digest) -> list[str]:
    return [str(v) for v in catalogue.versions(kind="backbone") if v.subject == backbone]


def _without_kind(artefact: Artefact) -> dict[str, Any]:
    return {
        "digest": artefact.digest,
        **{k: v for k, v in artefact.identity.items() if k not in ("kind", "digest")},
    }


def _files(catalogue: Catalogue, part: str, artefact: Artefact) -> list[dict[str, Any]]:
    sizes = catalogue.sizes(artefact.digest)
    return [{"part": part, "role": r, "blob": blob, "size": sizes[r]} for r, blob in artefact.files.items()]


# ---------------------------------------------------------------------------------------------- licences
def _licence(catalogue: Catalogue, artefacts: Iterable[Artefact]) -> dict[str, Any]:
    """Every statement about a licence, and where statements about one artefact contradict each other."""
    known = {artefact.digest: artefact for artefact in artefacts}
    statements = [e for e in _evidence(catalogue, known.values()) if e.field == "licence"]
    conflicts = []
    for subject in dict.fromkeys(e.subject for e in statements):
        about = [e for e in statements if e.subject == subject and e.value != NOASSERTION]
        if len({e.value for e in about}) > 1:
            conflicts.append(_conflict(known[subject], about))
    return {"statements": [_statement(e, known[e.subject]) for e in statements], "conflicts": conflicts}


def _conflict(artefact: Artefact, statements: Sequence[Evidence]) -> dict[str, Any]:
    by_value: dict[str, list[str]] = {}
    for statement in statements:
        by_value.setdefault(statement.value, []).append(statement.source)
    return {
        "kind": artefact.kind,
        "subject": artefact.digest,
        "label": label(artefact.kind, artefact.identity),
        "values": {value: sorted(set(sources)) for value, sources in sorted(by_value.items())},
    }


def _evidence(catalogue: Catalogue, artefacts: Iterable[Artefact]) -> list[Evidence]:
    return [item for artefact in artefacts for item in catalogue.evidence(artefact.digest)]


def _statement(item: Evidence, about: Artefact) -> dict[str, Any]:
    return {"kind": about.kind, "label": label(about.kind, about.identity), **asdict(item)}


# ---------------------------------------------------------------------------------------------- lineage
def _tree(catalogue: Catalogue, artefact: Artefact, above: set[Digest]) -> dict[str, Any]:
    """The artefact with its parents, theirs, and so on; a model's parts count as parents."""
    steps: list[tuple[str, Digest, str]] = [
        (e.relation, e.parent, e.note) for e in catalogue.edges(child=artefact.digest)
    ]
    named = {parent for _, parent, _ in steps}
    if artefact.kind == "model":
        parts = ((part, artefact.identity.get(part)) for part in ("adapter", "head", "backbone"))
        steps = [(f"has_{part}", Digest(d), "") for part, d in parts if d and d not in named] + steps
    below = above | {artefact.digest}
    return {
        "kind": artefact.kind,
        "digest": artefact.digest,
        "label": label(artefact.kind, artefact.identity),
        "parents": [
            {"relation": relation, "note": note, **_tree(catalogue, catalogue.artefact(parent), below)}
            for relation, parent, note in steps
            if parent not in below
        ],
    }
