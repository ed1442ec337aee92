"""Lineages for tests of licence verdicts: named artefacts with what sources say of them, without a catalogue."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headstock.digest import Digest, digest_json
from headstock.licences.facts import Conclusion, Facts
from headstock.records import Evidence
from headstock.sources.evidence import licence_statement

_INPUTS = {
    "text": ["input_ids"],
    "image": ["pixel_values"],
    "audio": ["input_values"],
    "multimodal": ["input_ids", "pixel_values"],
}


class Lineage:
    """Builds facts by names:

    lineage = Lineage()
    lineage.backbone("bert", tag="apache-2.0")
    lineage.model("intents", on="bert")
    judge(lineage.facts(), lineage["intents"], ...)
    """

    def __init__(self) -> None:
        self._artefacts: dict[str, dict[str, Any]] = {}
        self._names: dict[str, Digest] = {}
        self._edges: list[tuple[str, str, str]] = []
        self._statements: list[Evidence] = []
        self._conclusions: list[Conclusion] = []

    def __getitem__(self, name: str) -> Digest:
        return self._names[name]

    def backbone(self, name: str, *, tag: str | None = None, modality: str = "text") -> Digest:
        """A backbone; `tag` is what its hub tag says, None for a source without one."""
        inputs = [{"name": i} for i in _INPUTS[modality]]
        digest = self._add(name, {"kind": "backbone", "family": name, "inputs": inputs})
        if tag is not None:
            self.says(name, tag)
        return digest

    def source(self, name: str, spec: str, *, tag: str | None = None) -> Digest:
        """Something that is only named: `hf:ORG/NAME`."""
        digest = self._add(name, {"kind": "source", "spec": spec})
        if tag is not None:
            self.says(name, tag)
        return digest

    def dataset(self, name: str, *, tag: str | None = None) -> Digest:
        """A data set."""
        digest = self._add(name, {"kind": "dataset", "name": name})
        if tag is not None:
            self.says(name, tag)
        return digest

    def model(self, name: str, *, on: str, data: str | None = None) -> Digest:
        """A model: a head made here on a backbone."""
        head = self._add(f"head of {name}", {"kind": "head", "type": "text-classification", "backbone": self[on]})
        self._edges.append((head, "head_on", self[on]))
        if data is not None:
            self._edges.append((head, "trained_on", self[data]))
        identity = {"kind": "model", "backbone": self[on], "head": head, "adapter": None, "test_name": name}
        return self._add(name, identity)

    def part(self, name: str, kind: str, *, on: str, seed: int = 0) -> Digest:
        """A head or an adapter by itself, of which nothing is said yet."""
        digest = self._add(name, {"kind": kind, "type": "text-classification", "backbone": self[on], "seed": seed})
        self._edges.append((digest, "head_on" if kind == "head" else "adapter_of", self[on]))
        return digest

    def plugin(self, name: str, *, licence: str = "") -> Digest:
        """A plugin's distribution, and what its metadata say of its code."""
        digest = self._add(name, {"kind": "plugin", "distribution": name, "version": "1"})
        if licence:
            locator = f"distribution:{name}@1/METADATA"
            said = Evidence(digest, "licence", licence, "package-metadata", locator, licence, "code")
            self._statements.append(said)
        return digest

    def edge(self, child: str, relation: str, parent: str) -> None:
        """A lineage edge."""
        self._edges.append((self[child], relation, self[parent]))

    def says(self, name: str, written: str | list[str], source: str = "hub-tag", raw: str | None = None) -> None:
        """A source's statement, as collecting at pull would record it from what was `written`.

        A `licence-file` is given as the SPDX id that its text was recognised as, or NOASSERTION with its first words.
        """
        subject, locator = self[name], f"hf:test/{name}@{'0' * 40}/{source}"
        if source == "licence-file":
            self._statements.append(Evidence(subject, "licence", str(written), source, locator, raw or str(written)))
            return
        made = licence_statement(written or None, source, locator)
        value = written if isinstance(written, str) and written.startswith("LicenseRef-headstock") else made.value
        words = made.raw if raw is None else raw
        self._statements.append(Evidence(subject, "licence", value, source, locator, words, made.scope))

    def conclude(self, name: str, licence: str, reason: str = "read it") -> None:
        """A decision by a person."""
        event = len(self._conclusions) + 1
        self._conclusions.append(Conclusion(self[name], licence, reason, "ada", "2026-01-01T00:00:00Z", event))

    def facts(self, edges: Iterable[tuple[str, str, str]] | None = None) -> Facts:
        """Everything so far; `edges` instead of the lineage's own, to try another order."""
        return Facts.build(
            self._artefacts,
            self._edges if edges is None else edges,
            self._statements,
            self._conclusions,
        )

    @property
    def edges(self) -> list[tuple[str, str, str]]:
        """The edges as (child, relation, parent)."""
        return list(self._edges)

    def _add(self, name: str, identity: dict[str, Any]) -> Digest:
        digest = digest_json(identity)
        self._artefacts[digest] = identity
        self._names[name] = digest
        return digest
