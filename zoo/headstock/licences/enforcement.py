"""Where verdicts bite: what pulling, fine-tuning, promoting and serving do about one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from headstock.digest import Digest, digest_json
from headstock.errors import FailedPrecondition, LicenceRefused
from headstock.licences.aliases import NOASSERTION
from headstock.licences.composition import Verdict, judge
from headstock.licences.facts import MADE_HERE, Facts
from headstock.licences.gate import read_facts, verdict
from headstock.licences.kept import keep
from headstock.licences.naming import check_published_name
from headstock.licences.policy import Policy
from headstock.records import PRODUCTION, Edge, Evidence
from headstock.sources.fetched import Statement

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.catalogue.views import AliasChange
    from headstock.records import Version

OPERATOR = "operator"
"""Kind of source of what a person says with an option."""


def refusal(found: Verdict, what: str, reference: str) -> LicenceRefused:
    """The error of a verdict that does not let `what` go on; `reference` is what a person asks about."""
    return LicenceRefused(
        f"{what} is refused: the licence verdict is {found.value}: {found.reason}",
        proof_id=found.proof_id,
        fix=f"headstock licence why {reference}",
    )


def warning(found: Verdict, what: str, reference: str) -> str:
    """One line to warn with; empty where there is nothing to say."""
    if found.action == "allow":
        return ""
    verdict = "the licences allow it, but" if found.value == "allow" else f"the licence verdict is {found.value}:"
    return f"{what}: {verdict} {found.reason}; see headstock licence why {reference}"


def check(found: Verdict, policy: Policy, what: str, reference: str, name: str) -> list[str]:
    """Warnings about a verdict and the name of what is made or shown under it.

    Raises `LicenceRefused` where the policy refuses, `FailedPrecondition` for a name that a licence does not allow.
    """
    if not found.permitted:
        raise refusal(found, what, reference)
    return [w for w in (warning(found, what, reference), _name_warning(found, policy, name)) if w]


def check_fine_tune(
    catalogue: Catalogue,
    backbone: Digest,
    backbone_name: str,
    name: str,
    data: str,
    data_licence: str = "",
    changes_backbone: bool = False,
    teacher: Digest | None = None,
    parent: Digest | None = None,
) -> list[str]:
    """Warnings about a model that is not trained yet; raises as `check` does, before anything is spent on it.

    `data` is the data set's name, `data_licence` the SPDX expression that it is under, empty if nobody said.
    With `changes_backbone` the head will stand on a derivative of the backbone, made on the same data. `teacher` is
    the model that it will learn from, whose licences also judge our own use of it, `parent` the one that it goes on
    from. Raises `NotFound` for artefacts that the catalogue does not have.
    """
    policy = Policy.load(catalogue.settings)
    known = read_facts(catalogue)
    origins = list(_origins(known, teacher, parent))
    facts, planned = _plan(known, backbone, data, data_licence, changes_backbone, origins)
    found = judge(facts, planned, policy.context, policy)
    _keep_unless_allowed(catalogue, found)
    return check(found, policy, f"fine-tuning {name!r} on {backbone_name!r}", backbone_name, name)


def check_planned(
    catalogue: Catalogue,
    subject: Digest,
    identities: Mapping[str, Mapping[str, Any]],
    edges: Iterable[Edge],
    evidence: Iterable[Evidence],
    what: str,
    reference: str,
    name: str,
) -> list[str]:
    """Warnings about `subject` if all this were published, before it is made; raises as `check` does.

    `identities` stand for artefacts that do not exist yet: their digests and what they say beside their `kind` decide
    nothing. `what` is being done, `reference` what a person asks about, `name` what the result will be called.
    """
    policy = Policy.load(catalogue.settings)
    planned = Facts.build(identities, [(edge.child, edge.relation, edge.parent) for edge in edges], evidence)
    found = judge(_with(read_facts(catalogue), planned), subject, policy.context, policy)
    _keep_unless_allowed(catalogue, found)
    return check(found, policy, what, reference, name)


def promote(
    catalogue: Catalogue, version: Version, alias: str = PRODUCTION, *, reason: str = ""
) -> tuple[AliasChange, list[str]]:
    """Point an alias at a version that may be used, and say what to know about it; raises as `check` does.

    Moving back (`Catalogue.rollback`) is not asked about: it must not stand in the way of ending an outage, and a
    server refuses by itself what it may not serve.
    """
    policy = Policy.load(catalogue.settings)
    found = verdict(catalogue, version.subject, policy=policy)
    _keep_unless_allowed(catalogue, found)
    warnings = check(found, policy, f"promoting {str(version)!r}", str(version), version.name)
    return catalogue.promote(version.name, version.number, alias, reason=reason), warnings


def _keep_unless_allowed(catalogue: Catalogue, found: Verdict) -> None:
    """The message about it names its proof: whoever reads that later can ask `licence replay`."""
    if found.action != "allow":
        keep(catalogue.settings, found)


def data_statement(licence: str, said: str) -> Statement:
    """What the operator says about the licence of a data set; silence is recorded as silence."""
    return Statement("licence", licence or NOASSERTION, OPERATOR, "fine-tune --data-licence", said, "data")


def _name_warning(found: Verdict, policy: Policy, name: str) -> str:
    if policy.deny == "off":
        return ""
    try:
        check_published_name(name, found.duties)
    except FailedPrecondition as error:
        if policy.deny == "enforce":
            raise
        return str(error)
    return ""


def _origins(facts: Facts, teacher: Digest | None, parent: Digest | None) -> Iterator[tuple[str, Digest]]:
    """Edges that the head of a fine-tune will have besides those to its backbone and its data."""
    if teacher is not None:
        yield "distilled_from", teacher
    for part, digest in facts.parts(parent) if parent is not None else ():
        if part == "head":
            yield "finetuned_from", Digest(digest)


def _plan(
    facts: Facts, backbone: Digest, data: str, licence: str, changes: bool, origins: Sequence[tuple[str, Digest]]
) -> tuple[Facts, Digest]:
    """The facts with a head and a model that do not exist yet, as a fine-tune would add them."""
    for digest in (backbone, *(origin for _, origin in origins)):
        facts.identity(digest)
    parts: dict[str, dict[str, Any]] = {"dataset": {"kind": "dataset", "name": data, "planned": True}}
    dataset = digest_json(parts["dataset"])
    edges, said = [], [Evidence(dataset, "licence", licence, OPERATOR, "")] if licence else []
    if changes:
        parts["backbone"] = {**facts.identity(backbone), "kind": "backbone", "planned": True}
        changed = digest_json(parts["backbone"])
        edges += [(changed, "finetuned_from", backbone), (changed, "trained_on", dataset)]
        edges += [(changed, relation, origin) for relation, origin in origins if relation == "distilled_from"]
        said.append(Evidence(changed, MADE_HERE, "true", "fine-tune", "fine-tune"))
        backbone = changed
    parts["head"] = {"kind": "head", "backbone": backbone, "planned": True}
    head = digest_json(parts["head"])
    parts["model"] = {"kind": "model", "backbone": backbone, "head": head, "adapter": None}
    edges += [(head, "head_on", backbone), (head, "trained_on", dataset)]
    edges += [(head, relation, origin) for relation, origin in origins]
    return _with(facts, Facts.build({digest_json(v): v for v in parts.values()}, edges, said)), digest_json(
        parts["model"]
    )


def _with(facts: Facts, more: Facts) -> Facts:
    return replace(
        facts,
        kinds={**facts.kinds, **more.kinds},
        identities={**facts.identities, **more.identities},
        edges={**facts.edges, **more.edges},
        statements={**facts.statements, **more.statements},
    )
