"""The minimum elements of the G7's "SBOM for AI" (BSI, 12 May 2026): each has a value or says NOASSERTION.

The element names follow public summaries of the paper's seven clusters, and a schema that others made of it; the paper
itself was not at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headstock import __version__
from headstock.licences.aliases import NOASSERTION
from headstock.licences.facts import Facts
from headstock.licences.settled import settle
from headstock.records import Version

ELEMENTS: Mapping[str, tuple[str, ...]] = {
    "metadata": (
        "author",
        "version",
        "data-format",
        "author-signature",
        "tool-name",
        "tool-version",
        "generation-context",
        "timestamp",
        "dependency-relationship",
    ),
    "system": (
        "name",
        "producer",
        "version",
        "components",
        "timestamp",
        "data-flow",
        "data-usage",
        "input-output-properties",
        "application-area",
    ),
    "models": (
        "name",
        "identifier",
        "version",
        "producer",
        "description",
        "timestamp",
        "hash-value",
        "hash-algorithm",
        "properties",
        "input-output-properties",
        "training-properties",
        "licence",
        "external-references",
    ),
    "datasets": (
        "name",
        "description",
        "content",
        "identifier",
        "hash",
        "provenance",
        "statistical-properties",
        "sensitivity",
        "dependencies",
        "licence",
    ),
    "kpi": ("security-metrics", "operational-performance"),
    "infrastructure": ("software", "hardware"),
    "security": ("controls", "compliance", "policy-information", "vulnerability-referencing"),
}
"""Cluster to its elements. `models` and `datasets` stand at each model or data set, the others once, at the root."""

_MODELS = ("backbone", "adapter", "head", "model")


def elements(facts: Facts, digest: str, version: Version | None, data_format: str) -> dict[str, str]:
    """`cluster.element` to its value for one artefact; every element of its clusters is there.

    `version` is given for the root only. `data_format` names the document, as in `CycloneDX 1.6`.
    """
    kind = facts.kinds[digest]
    found: dict[str, dict[str, str]] = {}
    if kind in _MODELS:
        found["models"] = _model(facts, digest, version)
    if kind == "dataset":
        found["datasets"] = _dataset(facts, digest)
    if version is not None:
        found["metadata"] = _metadata(version, data_format)
        found["system"] = _system(facts, version)
        found["kpi"] = {"operational-performance": _metrics(version)}
        found["infrastructure"] = {}
        found["security"] = {}
    return {
        f"{cluster}.{element}": found[cluster].get(element) or NOASSERTION
        for cluster, names in ELEMENTS.items()
        if cluster in found
        for element in names
    }


def _metadata(version: Version, data_format: str) -> dict[str, str]:
    return {
        "version": "1",
        "data-format": data_format,
        "tool-name": "headstock",
        "tool-version": __version__,
        "generation-context": "from the catalogue's records, after the build",
        "timestamp": version.created_at,
        "dependency-relationship": "stated for every component",
    }


def _system(facts: Facts, version: Version) -> dict[str, str]:
    head = next((facts.identity(d) for part, d in facts.parts(version.subject) if part == "head"), {})
    return {
        "name": version.name,
        "version": str(version.number),
        "components": ", ".join(f"{part} {digest}" for part, digest in facts.parts(version.subject)),
        "timestamp": version.created_at,
        "input-output-properties": _in_and_out(head),
        "application-area": str(head.get("type", "")),
    }


def _model(facts: Facts, digest: str, version: Version | None) -> dict[str, str]:
    identity = facts.identity(digest)
    edges = facts.edges.get(digest, ())
    keys = ("family", "type", "precision", "form", "tap")
    return {
        "name": version.name if version else facts.label(digest),
        "identifier": digest,
        "version": str(version.number) if version else "",
        "description": facts.label(digest),
        "timestamp": version.created_at if version else "",
        "hash-value": digest.removeprefix("sha256:"),
        "hash-algorithm": "SHA-256",
        "properties": ", ".join(f"{key} {identity[key]}" for key in keys if identity.get(key)),
        "input-output-properties": _in_and_out(identity),
        "training-properties": _training(version, edges),
        "licence": _licence(facts, digest),
        "external-references": ", ".join(facts.label(p) for relation, p in edges if relation == "converted_from"),
    }


def _in_and_out(identity: Mapping[str, Any]) -> str:
    """What a head or a backbone reads and answers; nothing for other kinds."""
    if "width" in identity and "out" in identity:
        return f"{identity['width']} features in, {identity['out']} values out"
    named = {key: [str(t.get("name", "")) for t in identity.get(key, ())] for key in ("inputs", "taps")}
    return f"{', '.join(named['inputs'])} in, {', '.join(named['taps'])} out" if named["inputs"] else ""


def _training(version: Version | None, edges: tuple[tuple[str, str], ...]) -> str:
    said = [f"{relation} {parent}" for relation, parent in edges if relation in ("trained_on", "finetuned_from")]
    strategy = version.details.get("strategy") if version else None
    return ", ".join([f"strategy {strategy}"] * bool(strategy) + said)


def _dataset(facts: Facts, digest: str) -> dict[str, str]:
    identity: Mapping[str, Any] = facts.identity(digest)
    return {
        "name": str(identity.get("name", "")),
        "identifier": digest,
        "hash": str(identity.get("sha256", "")),
        "dependencies": ", ".join(f"{relation} {parent}" for relation, parent in facts.edges.get(digest, ())),
        "licence": _licence(facts, digest),
    }


def _licence(facts: Facts, digest: str) -> str:
    settled = settle(facts, digest)
    return f"declared {settled.declared}, concluded {settled.concluded}"


def _metrics(version: Version) -> str:
    return ", ".join(
        f"{m['name']} {m['value']:.6g} [{m['low']:.6g}, {m['high']:.6g}]" for m in version.details.get("metrics", [])
    )
