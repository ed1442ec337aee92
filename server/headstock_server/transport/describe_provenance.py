"""Where a version comes from and what its licences say, as messages of `headstock.v1`. No actors here either."""

from __future__ import annotations

from collections.abc import Iterator

from headstock.digest import canonical_json
from headstock.licences.context import Act
from headstock.licences.provenance import Provenance
from headstock.licences.tree import tree
from headstock.v1 import zoo_pb2 as pb
from headstock_server.dataplane.shown import Told


def response(told: Told) -> pb.ProvenanceResponse:
    """Everything about one version's origin and terms."""
    made = told.provenance
    return pb.ProvenanceResponse(
        name=made.version.name,
        version=made.version.number,
        kind=made.version.kind,
        parts=made.parts,
        artefacts=_artefacts(made),
        edges=[pb.LineageEdge(child=c, relation=r, parent=p) for c, r, p in made.edges],
        use=made.use,
        verdicts=[_verdict(made, act) for act in made.verdicts],
        display=made.display,
        acceptable_use=made.acceptable_use,
        plugins=_plugins(made),
        signature=_signature(told),
        refused=told.refused,
    )


def _artefacts(made: Provenance) -> Iterator[pb.Artefact]:
    for digest, settled in made.artefacts.items():
        yield pb.Artefact(
            digest=digest,
            kind=made.facts.kinds[digest],
            label=made.facts.label(digest),
            declared=settled.declared,
            concluded=settled.concluded,
            reason=settled.decision.reason if settled.decision else "",
            statements=[
                pb.Statement(
                    field=s.field,
                    value=s.value,
                    subject_kind=made.facts.kinds.get(s.subject, ""),
                    subject=s.subject,
                    source=s.source,
                    locator=s.locator,
                    raw=s.raw,
                    scope=s.scope,
                )
                for s in made.facts.statements_about(digest)
            ],
        )


def _verdict(made: Provenance, act: Act) -> pb.LicenceVerdict:
    found, proof = made.verdicts[act], made.proof(act)
    return pb.LicenceVerdict(
        act=act,
        value=found.value,
        action=found.action,
        reason=found.reason,
        proof_id=found.proof_id,
        proof=canonical_json(proof).decode(),
        tree=tree(proof),
        obligations=[pb.Obligation(duty=d.duty, licence=d.licence, payload=d.payload) for d in found.duties],
    )


def _plugins(made: Provenance) -> Iterator[pb.Plugin]:
    for digest, children in made.plugins.items():
        identity = made.facts.identity(digest)
        yield pb.Plugin(
            distribution=str(identity.get("distribution", "")),
            version=str(identity.get("version", "")),
            digest=digest,
            made=sorted(children),
        )


def _signature(told: Told) -> pb.Signature:
    asked = told.signature != "off" and told.ruling is not None and told.provenance.version.kind == "model"
    reason = told.ruling.unsigned if asked and told.ruling is not None else "this server asks for none"
    return pb.Signature(mode=told.signature, present=told.signed, verified=asked and not reason, reason=reason)
