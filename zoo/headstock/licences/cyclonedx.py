"""CycloneDX ML-BOM (1.6 and 1.7) of a version: its whole lineage, one declared and one concluded licence each.

Written by hand because no library writes model cards; equal bytes for equal facts, so it holds no time of its own.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from headstock.licences import library
from headstock.licences.aliases import NOASSERTION
from headstock.licences.documents.minimum import elements
from headstock.licences.facts import Facts
from headstock.licences.settled import settle
from headstock.records import Version

Spec = Literal["1.6", "1.7"]

_TYPES = {"dataset": "data", "plugin": "library"}
_NOT_IN_SCHEMA = {"OpenMDW-1.0"}
"""SPDX ids that are newer than the list in the CycloneDX schemas."""


def bom(facts: Facts, version: Version, spec: Spec = "1.6") -> dict[str, Any]:
    """The document as JSON values; valid under the strict schema of `spec`."""
    digests = closure(facts, version.subject)
    root = _component(facts, version.subject, spec, version)
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{spec}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": spec,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, version.subject)}",
        "version": 1,
        "metadata": {"component": root},
        "components": [_component(facts, digest, spec) for digest in digests if digest != version.subject],
        "dependencies": [{"ref": d, "dependsOn": _parents(facts, d)} for d in digests],
    }


def closure(facts: Facts, subject: str) -> list[str]:
    """The subject and everything that any edge or part leads to, sorted."""
    found, waiting = {subject}, [subject]
    while waiting:
        for parent in _parents(facts, waiting.pop()):
            if parent not in found:
                found.add(parent)
                waiting.append(parent)
    return sorted(found)


def _parents(facts: Facts, digest: str) -> list[str]:
    parts = [part for _, part in facts.parts(digest)]
    return sorted({*parts, *(parent for _, parent in facts.edges.get(digest, ()))})


def _component(facts: Facts, digest: str, spec: Spec, version: Version | None = None) -> dict[str, Any]:
    kind, identity = facts.kinds[digest], facts.identity(digest)
    settled = settle(facts, digest)
    made: dict[str, Any] = {
        "type": _TYPES.get(kind, "machine-learning-model"),
        "bom-ref": digest,
        "name": version.name if version else facts.label(digest),
        "version": str(version.number) if version else str(identity.get("version") or digest),
        "hashes": [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}],
        "licenses": [_licence(settled.declared, "declared"), _licence(settled.concluded, "concluded")],
        "properties": [{"name": f"headstock:{name}", "value": value} for name, value in _properties(facts, digest)],
    }
    stated = elements(facts, digest, version, f"CycloneDX {spec}")
    made["properties"] += [{"name": f"headstock:g7:{name}", "value": value} for name, value in stated.items()]
    if made["type"] == "machine-learning-model":
        made["modelCard"] = _card(facts, digest, identity, version)
    if kind == "dataset":
        made["data"] = [{"type": "dataset", "name": made["name"]}]
    return made


def _licence(expression: str, acknowledgement: str) -> dict[str, Any]:
    """One licence choice. An id only where the schema knows it; expressions and our own ids are names."""
    doc = library.find(expression)
    plain = doc is not None and not expression.startswith(library.REF) and expression not in _NOT_IN_SCHEMA
    made: dict[str, Any] = {"id" if plain else "name": expression, "acknowledgement": acknowledgement}
    if doc is not None and doc.documents[0].source.startswith("https://"):
        made["url"] = doc.documents[0].source
    return {"license": made}


def _properties(facts: Facts, digest: str) -> Iterator[tuple[str, str]]:
    yield "kind", facts.kinds[digest]
    for part, parent in facts.parts(digest):
        yield f"has_{part}", parent
    for relation, parent in facts.edges.get(digest, ()):
        yield relation, parent
    for statement in facts.own_statements(digest):
        about = f" about {statement.scope}" if statement.scope else ""
        yield "licence-evidence", f"{statement.source} at {statement.locator}{about}: {statement.value}"


def _card(facts: Facts, digest: str, identity: Mapping[str, Any], version: Version | None) -> dict[str, Any]:
    data = [parent for relation, parent in _trained_on(facts, digest)]
    parameters: dict[str, Any] = {
        "task": str(identity.get("type") or _head_type(facts, digest) or NOASSERTION),
        "modelArchitecture": str(identity.get("family") or _family(facts, digest) or NOASSERTION),
    }
    if data:
        parameters["datasets"] = [{"ref": parent} for parent in data]
    card: dict[str, Any] = {"modelParameters": parameters}
    metrics: Sequence[Mapping[str, Any]] = version.details.get("metrics", []) if version else []
    if metrics:
        card["quantitativeAnalysis"] = {"performanceMetrics": [_metric(metric) for metric in metrics]}
    return card


def _metric(metric: Mapping[str, Any]) -> dict[str, Any]:
    interval = {"lowerBound": str(metric["low"]), "upperBound": str(metric["high"])}
    return {"type": str(metric["name"]), "value": str(metric["value"]), "confidenceInterval": interval}


def _trained_on(facts: Facts, digest: str) -> list[tuple[str, str]]:
    """Data sets of the artefact or of the parts that it is made of."""
    owners = [digest, *(part for _, part in facts.parts(digest))]
    edges = {edge for owner in owners for edge in facts.edges.get(owner, ()) if edge[0] == "trained_on"}
    return sorted(edge for edge in edges if facts.kinds.get(edge[1]) == "dataset")


def _head_type(facts: Facts, digest: str) -> str:
    return next((str(facts.identity(d).get("type", "")) for p, d in facts.parts(digest) if p == "head"), "")


def _family(facts: Facts, digest: str) -> str:
    return next((str(facts.identity(d).get("family", "")) for p, d in facts.parts(digest) if p == "backbone"), "")
