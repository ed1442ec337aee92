"""What a signed folder holds: a version's artefacts, and the documents that must not be parted from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headstock.digest import Digest

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.licences.facts import Facts
    from headstock.licences.policy import Policy
    from headstock.records import Version

VERSION = "version.json"
LICENSE, NOTICE, CARD, BOM = "LICENSE", "NOTICE", "README.md", "bom.cdx.json"


def blobs(catalogue: Catalogue, version: Version) -> dict[str, Digest]:
    """Path in the folder to stored blob: `backbone/graph`, `head/parameters`, `model/recipe`."""
    found = catalogue.artefact(version.subject)
    parts = {found.kind: found.digest}
    for part in ("backbone", "head", "adapter"):
        if found.kind == "model" and found.identity.get(part):
            parts[part] = Digest(found.identity[part])
    return {f"{part}/{role}": blob for part, d in parts.items() for role, blob in catalogue.artefact(d).files.items()}


def documents(catalogue: Catalogue, version: Version) -> dict[str, bytes]:
    """Path in the folder to bytes: LICENSE, NOTICE, card, bill of materials and the record of the version itself."""
    from headstock.licences import cyclonedx
    from headstock.licences.gate import read_facts
    from headstock.licences.notice import notice
    from headstock.licences.policy import Policy

    facts, policy = read_facts(catalogue), Policy.load(catalogue.settings)
    label = facts.label(version.subject)
    texts = {
        VERSION: _json(record(catalogue, version)),
        LICENSE: _licence(catalogue, facts, version),
        NOTICE: notice(facts, label, version.subject, policy, catalogue.store.read_bytes),
        CARD: _card(catalogue, facts, version, policy),
        BOM: _json(cyclonedx.bom(facts, version)),
    }
    return {name: text.encode() for name, text in texts.items()}


def record(catalogue: Catalogue, version: Version) -> dict[str, Any]:
    """What the folder says it is: name, number, digest, identity, and which blob each path holds."""
    return {
        "name": version.name,
        "version": version.number,
        "subject": version.subject,
        "identity": catalogue.artefact(version.subject).identity,
        "files": blobs(catalogue, version),
    }


def _licence(catalogue: Catalogue, facts: Facts, version: Version) -> str:
    """The licence texts that came with the parts, each once; where none came, that is what it says."""
    identity = facts.identity(version.subject)
    digests = [version.subject, *(identity[p] for p in ("backbone", "head", "adapter") if identity.get(p))]
    roles = ("licence", "model-licence", "use-policy")
    found = {blob: facts.label(d) for d in digests for role, blob in facts.files.get(d, {}).items() if role in roles}
    if not found:
        return "NOASSERTION: no licence text came with these files. What sources declare is in NOTICE.\n"
    texts = [(label, catalogue.store.read_bytes(blob).decode(errors="replace")) for blob, label in found.items()]
    return "\n".join(f"Licence text of {label}:\n\n{text.rstrip()}\n" for label, text in texts)


def _card(catalogue: Catalogue, facts: Facts, version: Version, policy: Policy) -> str:
    """The model card, with the verdict on the use that the policy means."""
    from headstock.licences.composition import judge
    from headstock.licences.documents.card import Subject, card

    report = catalogue.artefact(version.subject).files.get("report")
    kept = catalogue.store.read_json(report) if report else {}
    found = judge(facts, version.subject, policy.context, policy)
    return card(Subject(facts, version, found, str(policy.context), kept))


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
