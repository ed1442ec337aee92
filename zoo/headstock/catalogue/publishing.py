"""Publish: check everything that one pull or fine-tune adds, then write it in the caller's one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import sqlalchemy as sa

from headstock.catalogue import artefacts, audit, schema
from headstock.catalogue.entries import to_version
from headstock.digest import Digest, canonical_json, digest_json, short
from headstock.errors import (
    AlreadyExists,
    Corrupt,
    DigestMismatch,
    FailedPrecondition,
    InvalidInput,
    NotFound,
)
from headstock.names import check_name
from headstock.records import RELATIONS, Artefact, EntryKind, Kind, Publication, Version
from headstock.store import BlobStore

_Files = dict[str, tuple[Digest, int]]
_MISSING_FIX = "publish inside Catalogue.writing(), which keeps gc away, and store every blob first"


def publish(connection: sa.Connection, store: BlobStore, actor: str, publication: Publication) -> Version:
    """Write the publication; see `Catalogue.publish`. The connection must be a writer's."""
    check_name(publication.name)
    check = _Check(connection, publication)
    check.all()
    named, implied = _blobs(store, publication)
    replaced: dict[str, Digest] = {}
    for artefact in publication.artefacts:
        artefacts.write(connection, artefact)
        current = artefacts.read(connection, artefact.digest).files
        wanted = {
            role: blob
            for role, blob in named[artefact.digest].items()
            if _replaces(store, artefact, current.get(role), blob[0])
        }
        replaced |= {f"{role} of {short(artefact.digest)}": b for role, (b, _) in wanted.items() if role in current}
        artefacts.write_files(connection, artefact.digest, wanted, implied=False)
        artefacts.write_files(connection, artefact.digest, implied[artefact.digest], implied=True)
    if replaced:
        audit.append(connection, actor, "refresh", publication.name, {"files": replaced})
    artefacts.write_edges(connection, publication.edges)
    artefacts.write_evidence(connection, publication.evidence)
    artefacts.write_certificates(connection, publication.certificates)
    return _write_version(connection, actor, publication, check.backbone)


class _Check:
    """What must hold before anything is written."""

    def __init__(self, connection: sa.Connection, publication: Publication) -> None:
        self.publication = publication
        self.new = {a.digest: a for a in publication.artefacts}
        identities = [a.identity for a in publication.artefacts]
        named = {value for i in identities for key in ("backbone", "head", "adapter") if (value := i.get(key))}
        named |= {
            publication.subject,
            *(e.parent for e in publication.edges),
            *(e.child for e in publication.edges),
        }
        named |= {e.subject for e in publication.evidence} | {c.backbone for c in publication.certificates}
        self.stored = artefacts.read_many(connection, named | set(self.new))
        self.known = self.stored | self.new
        self.erased = artefacts.erased(connection, set(self.stored) - set(self.new))

    @property
    def backbone(self) -> Digest:
        """The subject, or what it stands on."""
        subject = self.known[self.publication.subject]
        return subject.digest if subject.kind == "backbone" else Digest(subject.identity["backbone"])

    def all(self) -> None:
        """Run every check; raises the first failure."""
        for artefact in self.publication.artefacts:
            self._artefact(artefact)
        subject = self._known(self.publication.subject, "the published version")
        if subject.kind != self.publication.kind or subject.kind not in get_args(EntryKind):
            raise InvalidInput(
                f"{self.publication.name!r} was to be published as a {self.publication.kind}, "
                f"but {short(subject.digest)} is a {subject.kind}"
            )
        self._composition(subject)
        for edge in self.publication.edges:
            if edge.relation not in RELATIONS:
                raise InvalidInput(f"{edge.relation!r} is not a lineage relation; expected one of {list(RELATIONS)}")
            self._known(edge.child, f"the child of a {edge.relation!r} edge")
            self._known(edge.parent, f"the parent of a {edge.relation!r} edge")
        for statement in self.publication.evidence:
            self._known(statement.subject, f"evidence from {statement.source!r}")
        for certificate in self.publication.certificates:
            self._known(certificate.backbone, "a certificate", "backbone")

    def _artefact(self, artefact: Artefact) -> None:
        found = digest_json(artefact.identity)
        if found != artefact.digest:
            raise Corrupt(
                f"the identity of {artefact.kind} {short(artefact.digest)} hashes to {short(found)}",
                fix="make artefacts with records.artefact_of",
            )
        if artefact.kind not in get_args(Kind):
            raise InvalidInput(f"{artefact.kind!r} is not a kind of artefact; expected one of {list(get_args(Kind))}")
        earlier = self.stored.get(artefact.digest, artefact)
        if earlier.kind != artefact.kind:
            raise AlreadyExists(f"{short(artefact.digest)} is already known as a {earlier.kind}, not a {artefact.kind}")
        self._composition(artefact)

    def _composition(self, artefact: Artefact) -> None:
        """A head's backbone is known; a model's parts are, and its head was made for its backbone."""
        identity, what = artefact.identity, f"{artefact.kind} {short(artefact.digest)}"
        needed = {"head": ("backbone",), "adapter": ("backbone",), "model": ("backbone", "head")}
        parts = needed.get(artefact.kind, ())
        if missing := [part for part in parts if not identity.get(part)]:
            raise InvalidInput(f"the identity of {what} does not name its {missing[0]}")
        if artefact.kind in ("model", "head") and identity.get("adapter"):
            parts = (*parts, "adapter")
        members = {part: self._known(identity[part], what, part) for part in parts}
        adapter = members.get("adapter")
        if adapter is not None and adapter.identity["backbone"] != identity["backbone"]:
            raise DigestMismatch(
                f"{what} puts an adapter of backbone {adapter.identity['backbone']} on {identity['backbone']}; "
                "an adapter changes only the backbone it was trained on",
                fix="fine-tune the adapter on the backbone you want",
            )
        if artefact.kind == "model":
            head = members["head"]
            if head.identity.get("adapter") != identity.get("adapter"):
                raise DigestMismatch(
                    f"{what} puts a head of adapter {head.identity.get('adapter') or 'none'} on adapter "
                    f"{identity.get('adapter') or 'none'}; a head runs only on the features it was trained on",
                    fix="fine-tune the head with the adapter you want",
                )
            if head.identity["backbone"] != identity["backbone"]:
                raise DigestMismatch(
                    f"{what} puts a head of backbone {head.identity['backbone']} on backbone {identity['backbone']}; "
                    "a head runs only on the backbone it was trained on",
                    fix="fine-tune the head on the backbone you want",
                )

    def _known(self, digest: str, what: str, kind: str | None = None) -> Artefact:
        found = self.known.get(Digest(digest))
        if found is None:
            raise NotFound(f"{what} names artefact {short(digest)}, which is neither published with it nor known")
        if kind is not None and found.kind != kind:
            raise InvalidInput(f"{what} names {short(digest)} as its {kind}, but that is a {found.kind}")
        if kind is not None and digest in self.erased:
            raise FailedPrecondition(
                f"{what} stands on {kind} {short(digest)}, which was removed and collected meanwhile",
                fix="pull it again, then fine-tune again",
            )
        return found


def _blobs(store: BlobStore, publication: Publication) -> tuple[dict[Digest, _Files], dict[Digest, _Files]]:
    """Blobs with sizes, per artefact and role: those the publisher lists, and those implied by what they say."""
    named: dict[Digest, _Files] = {}
    implied: dict[Digest, _Files] = {}
    for artefact in publication.artefacts:
        what = f"{artefact.kind} {short(artefact.digest)}"
        named[artefact.digest] = {role: _sized(store, role, blob, what) for role, blob in artefact.files.items()}
        implied[artefact.digest] = {
            role: _sized(store, role, blob, what) for role, blob in _implied(store, artefact).items()
        }
    return named, implied


def _implied(store: BlobStore, artefact: Artefact) -> Mapping[str, Digest]:
    """Blobs that serving the artefact needs and that `files` need not list."""
    if artefact.kind in ("head", "adapter") and "parameters" in artefact.identity:
        return {"identity.parameters": Digest(artefact.identity["parameters"])}
    if artefact.kind == "backbone" and "preprocess" in artefact.files:
        spec = store.read_json(artefact.files["preprocess"])
        files: Any = spec.get("files", {}) if isinstance(spec, dict) else {}
        return {f"preprocess.{role}": Digest(blob) for role, blob in files.items()}
    return {}


def _sized(store: BlobStore, role: str, blob: Digest, what: str) -> tuple[Digest, int]:
    if not store.has(blob):
        raise NotFound(f"the {role} of {what} is blob {short(blob)}, which is not in the store", fix=_MISSING_FIX)
    return blob, store.size(blob)


def _replaces(store: BlobStore, artefact: Artefact, current: Digest | None, blob: Digest) -> bool:
    """Whether a role takes another blob: a backbone's newest export comes with its own certificate; a model keeps the
    recipe and report that it was made with, unless they are lost."""
    if current is None or current == blob:
        return current is None
    return artefact.kind == "backbone" or not store.has(current)


def _write_version(connection: sa.Connection, actor: str, publication: Publication, backbone: Digest) -> Version:
    name, table = publication.name, schema.versions
    newest = connection.execute(
        sa.select(table).where(table.c.name == name).order_by(table.c.number.desc()).limit(1)
    ).one_or_none()
    if newest is not None and newest.kind != publication.kind:
        raise AlreadyExists(
            f"{name!r} is a {newest.kind} and cannot hold a {publication.kind}", fix="choose another --name"
        )
    if newest is not None and newest.subject == publication.subject:
        return to_version(newest)
    row = {
        "name": name,
        "number": _next_number(connection, publication),
        "kind": publication.kind,
        "subject": publication.subject,
        "backbone": backbone,
        "created_at": audit.now(),
        "details": canonical_json(dict(publication.details)).decode(),
    }
    connection.execute(sa.insert(table).values(row))
    written = sa.select(table).where(table.c.name == name, table.c.number == row["number"])
    version = to_version(connection.execute(written).one())
    detail = {
        "kind": publication.kind,
        "subject": publication.subject,
        "artefacts": len(publication.artefacts),
    }
    audit.append(connection, actor, "publish", str(version), detail)
    return version


def _next_number(connection: sa.Connection, publication: Publication) -> int:
    table = schema.entries
    entry = connection.execute(sa.select(table).where(table.c.name == publication.name)).one_or_none()
    if entry is None:
        row = {
            "name": publication.name,
            "kind": publication.kind,
            "next_version": 2,
            "created_at": audit.now(),
        }
        connection.execute(sa.insert(table).values(row))
        return 1
    change = {"next_version": entry.next_version + 1, "kind": publication.kind}
    connection.execute(sa.update(table).where(table.c.name == publication.name).values(change))
    return int(entry.next_version)
