"""SPDX 3.0.1 JSON-LD of a version (AI and Dataset profiles): its whole lineage, one declared and one concluded each.

Written through `spdx-python-model`, which refuses what the specification's classes do not allow.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from headstock.errors import FailedPrecondition
from headstock.licences import library
from headstock.licences.aliases import NOASSERTION, base
from headstock.licences.cyclonedx import closure
from headstock.licences.documents.minimum import elements
from headstock.licences.expression import Expression, parse
from headstock.licences.facts import Facts
from headstock.licences.settled import settle
from headstock.records import Version

FORMAT = "SPDX 3.0.1 JSON-LD"

_PROFILES = ("core", "software", "ai", "dataset", "simpleLicensing")
_RELATIONS = {
    "trained_on": "trainedOn",
    "evaluated_on": "testedOn",
    "built_by_plugin": "usesTool",
    "uses_tokenizer_of": "dependsOn",
    "head_on": "dependsOn",
    "adapter_of": "dependsOn",
}
"""Ours to SPDX's. Every other relation says that the child descends from the parent; ours is kept in the comment."""


def spdx(facts: Facts, version: Version) -> dict[str, Any]:
    """The document as JSON values; equal values for equal facts.

    Its time is when the version was made. Raises `FailedPrecondition` if `spdx-python-model` is not installed.
    """
    return _Writer(facts, version).document()


class _Writer:
    """Collects the elements of one document."""

    def __init__(self, facts: Facts, version: Version) -> None:
        try:
            from spdx_python_model import v3_0_1
        except ModuleNotFoundError as error:
            raise FailedPrecondition(
                "an SPDX document needs the package 'spdx-python-model', which is not installed",
                fix="pip install spdx-python-model",
            ) from error
        self._spdx: Any = v3_0_1
        self._facts, self._version = facts, version
        self._base = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, version.subject)}"
        self._elements: list[Any] = []
        self._licences: dict[str, str] = {}
        self._texts: dict[str, str] = {}
        self._agent = v3_0_1.SoftwareAgent(spdxId=f"{self._base}#agent", name="headstock")
        created = datetime.fromisoformat(version.created_at)
        self._info = v3_0_1.CreationInfo(
            specVersion="3.0.1", created=created if created.tzinfo else created.replace(tzinfo=UTC)
        )
        self._info.createdBy = [self._agent]
        self._add(self._agent)

    def document(self) -> dict[str, Any]:
        digests = closure(self._facts, self._version.subject)
        packages = {digest: self._package(digest) for digest in digests}
        for digest in digests:
            self._licensed(digest, packages[digest])
            for relation, parent in _edges(self._facts, digest):
                word = _RELATIONS.get(relation, "contains" if relation.startswith("has_") else "descendantOf")
                self._relate(packages[digest], word, [packages[parent]], relation)
        root = packages[self._version.subject]
        bom = self._made("software_Sbom", "bom", name=f"{self._version}")
        bom.rootElement = [root]
        bom.element = list(packages.values())
        document = self._made("SpdxDocument", "document", name=f"{self._version}")
        document.rootElement = [bom]
        document.profileConformance = [getattr(self._spdx.ProfileIdentifierType, name) for name in _PROFILES]
        document.element = [element for element in self._elements if element is not document]
        objects = self._spdx.SHACLObjectSet(self._elements)
        made: dict[str, Any] = self._spdx.JSONLDSerializer().serialize_data(objects)
        made["@graph"] = sorted(made["@graph"], key=lambda item: json.dumps(item, sort_keys=True))
        return made

    def _add(self, element: Any) -> Any:
        element.creationInfo = self._info
        self._elements.append(element)
        return element

    def _made(self, class_: str, fragment: str, **values: Any) -> Any:
        return self._add(getattr(self._spdx, class_)(spdxId=f"{self._base}#{fragment}", **values))

    def _package(self, digest: str) -> Any:
        facts, kind = self._facts, self._facts.kinds[digest]
        version = self._version if digest == self._version.subject else None
        class_ = {"dataset": "dataset_DatasetPackage", "plugin": "software_Package"}.get(kind, "ai_AIPackage")
        made = self._made(class_, digest.replace(":", "-"), name=version.name if version else facts.label(digest))
        made.software_packageVersion = str(version.number) if version else digest
        made.software_primaryPurpose = getattr(
            self._spdx.software_SoftwarePurpose, {"dataset": "data", "plugin": "library"}.get(kind, "model")
        )
        made.verifiedUsing = [
            self._spdx.Hash(algorithm=self._spdx.HashAlgorithm.sha256, hashValue=digest.removeprefix("sha256:"))
        ]
        if kind == "dataset":
            made.dataset_datasetType = [self._spdx.dataset_DatasetType.noAssertion]
            made.dataset_hasSensitivePersonalInformation = self._spdx.PresenceType.noAssertion
        elif kind != "plugin":
            self._describe(made, digest, version)
        self._annotate(made, digest, version)
        return made

    def _describe(self, made: Any, digest: str, version: Version | None) -> None:
        identity = self._facts.identity(digest)
        types = [str(identity[key]) for key in ("family", "type", "form") if identity.get(key)]
        made.ai_typeOfModel = types or [NOASSERTION]
        made.ai_limitation = NOASSERTION
        made.ai_informationAboutTraining = NOASSERTION
        made.ai_informationAboutApplication = NOASSERTION
        made.ai_useSensitivePersonalInformation = self._spdx.PresenceType.noAssertion
        for metric in version.details.get("metrics", []) if version else []:
            value = f"{metric['value']} [{metric['low']}, {metric['high']}]"
            made.ai_metric.append(self._spdx.DictionaryEntry(key=str(metric["name"]), value=value))

    def _annotate(self, made: Any, digest: str, version: Version | None) -> None:
        stated = elements(self._facts, digest, version, FORMAT)
        if stated:
            self._note(made, f"minimum-{digest.replace(':', '-')}", stated)

    def _note(self, about: Any, fragment: str, content: Any) -> None:
        """JSON for which the specification has no field."""
        self._made(
            "Annotation",
            fragment,
            annotationType=self._spdx.AnnotationType.other,
            contentType="application/json",
            statement=json.dumps(content, sort_keys=True, ensure_ascii=False),
            subject=about,
        )

    def _licensed(self, digest: str, package: Any) -> None:
        settled = settle(self._facts, digest)
        said = [
            {"value": s.value, "source": s.source, "locator": s.locator, "about": s.scope or NOASSERTION}
            for s in self._facts.own_statements(digest)
        ]
        if said:
            self._note(package, f"evidence-{digest.replace(':', '-')}", said)
        self._relate(package, "hasDeclaredLicense", [self._licence(settled.declared)], settled.declared)
        self._relate(package, "hasConcludedLicense", [self._licence(settled.concluded)], settled.concluded)

    def _licence(self, said: str) -> Any:
        """The one element of an expression; sources that contradict each other assert nothing together."""
        if said == NOASSERTION or " / " in said:
            return self._spdx.expandedlicensing_IndividualLicensingInfo.NoAssertionLicense
        known = self._licences.get(said)
        if known is None:
            expression: Expression = parse(said)
            identifier = uuid.uuid5(uuid.NAMESPACE_URL, str(expression))
            made = self._made(
                "simplelicensing_LicenseExpression",
                f"licence-{identifier}",
                simplelicensing_licenseExpression=str(expression),
            )
            made.simplelicensing_customIdToUri = [
                self._spdx.DictionaryEntry(key=reference, value=self._text(reference))
                for reference in sorted({base(name) for name in expression.licences()})
                if reference.startswith("LicenseRef-")
            ]
            known = self._licences[said] = made._id
        return known

    def _text(self, reference: str) -> str:
        """Where the document says what a licence is that SPDX has no id for: every such id must lead somewhere."""
        known = self._texts.get(reference)
        if known is None:
            doc = library.find(reference)
            sources = [d.source for d in doc.documents if d.source.startswith("https://")] if doc else []
            where = f"it is published at {' and '.join(sources)}" if sources else "where it stands is not known"
            made = self._made(
                "simplelicensing_SimpleLicensingText",
                reference,
                name=doc.name if doc else reference,
                simplelicensing_licenseText=f"{NOASSERTION}: this document does not hold the text; {where}",
            )
            if sources:
                kind = self._spdx.ExternalRefType.license
                made.externalRef = [self._spdx.ExternalRef(externalRefType=kind, locator=sources)]
            known = self._texts[reference] = made._id
        return known

    def _relate(self, from_: Any, word: str, to: Sequence[Any], comment: str) -> None:
        ends = [str(end if isinstance(end, str) else end._id) for end in to]
        key = uuid.uuid5(uuid.NAMESPACE_URL, " ".join([from_._id, word, *ends, comment]))
        self._made(
            "Relationship",
            f"relation-{key}",
            from_=from_,
            to=list(to),
            relationshipType=getattr(self._spdx.RelationshipType, word),
            comment=comment,
        )


def _edges(facts: Facts, digest: str) -> Iterator[tuple[str, str]]:
    for part, parent in facts.parts(digest):
        yield f"has_{part}", parent
    yield from facts.edges.get(digest, ())
