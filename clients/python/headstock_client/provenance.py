"""Where a model comes from and what its licences say, as plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headstock.v1 import zoo_pb2 as pb

_RULING = ("verdict", "reason", "proof", "concluded", "display", "duties")
"""What a server says of licences in an answer, each with `licence_` before it."""


@dataclass(frozen=True, slots=True)
class Artefact:
    """Something in the lineage: weights, data, code."""

    digest: str
    kind: str
    """`model`, `head`, `backbone`, `dataset`, `source`, `plugin`..."""
    label: str
    declared: str
    """What sources declare, all of it where they contradict each other, or `NOASSERTION`."""
    concluded: str
    """What somebody decided, or `NOASSERTION`."""
    reason: str
    """Why it was decided so."""


@dataclass(frozen=True, slots=True)
class LineageEdge:
    """How one artefact came from another."""

    child: str
    relation: str
    """`head_on`, `trained_on`, `converted_from`, `has_backbone`..."""
    parent: str


@dataclass(frozen=True, slots=True)
class Obligation:
    """Something that an act obliges to."""

    duty: str
    """`display`, `attribution`, `include-text`, `acceptable-use`..."""
    licence: str
    payload: str
    """What to show, to pass on..."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the licences say of the answer that it comes with."""

    value: str
    """`allow`, `unknown` or `deny`."""
    reason: str
    proof_id: str
    """What `headstock licence why` prints, and `headstock licence replay` reads."""
    concluded: str
    """What somebody decided that the model's parts are under; `NOASSERTION` unless all of them were decided about."""
    display: tuple[str, ...]
    """Words that have to be shown with the answer: `Built with Llama`."""
    obligations: tuple[Obligation, ...]


@dataclass(frozen=True, slots=True)
class LicenceVerdict:
    """What the licences say of one act."""

    act: str
    """`train`, `serve` or `distribute`."""
    value: str
    """`allow`, `unknown` or `deny`."""
    action: str
    """What the server's policy makes of it: `allow`, `warn` or `refuse`."""
    reason: str
    proof_id: str
    """What `headstock licence why` prints."""
    proof: Mapping[str, Any]
    tree: str
    """The proof as an indented text."""
    obligations: tuple[Obligation, ...]


@dataclass(frozen=True, slots=True)
class Plugin:
    """A distribution whose code made something of the model."""

    distribution: str
    version: str
    made: tuple[str, ...]
    """Digests."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Whether the version is signed, and whether anybody asks."""

    mode: str
    """What the server's policy asks for: `enforce`, `warn` or `off`."""
    present: bool
    verified: bool
    reason: str
    """Why it is not verified."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Origin and terms of one version."""

    name: str
    version: int
    parts: Mapping[str, str]
    """`model`, `backbone`, `head`, `adapter` to digest."""
    artefacts: tuple[Artefact, ...]
    """Everything that the lineage leads to."""
    edges: tuple[LineageEdge, ...]
    use: str
    """The use that the verdicts are about."""
    verdicts: Mapping[str, LicenceVerdict]
    """By act."""
    display: tuple[str, ...]
    """Words that have to be shown where it is served: `Built with Llama`."""
    acceptable_use: tuple[str, ...]
    """Policies that users have to keep to."""
    plugins: tuple[Plugin, ...]
    signature: Signature
    refused: str
    """Why the server does not serve it to this caller; empty if nothing stands against it."""


def provenance(data: bytes) -> Provenance:
    """An encoded ProvenanceResponse."""
    response = pb.ProvenanceResponse.FromString(data)
    signature = response.signature
    return Provenance(
        name=response.name,
        version=response.version,
        parts=dict(response.parts),
        artefacts=tuple(
            Artefact(a.digest, a.kind, a.label, a.declared, a.concluded, a.reason) for a in response.artefacts
        ),
        edges=tuple(LineageEdge(e.child, e.relation, e.parent) for e in response.edges),
        use=response.use,
        verdicts={v.act: _verdict(v) for v in response.verdicts},
        display=tuple(response.display),
        acceptable_use=tuple(response.acceptable_use),
        plugins=tuple(Plugin(p.distribution, p.version, tuple(p.made)) for p in response.plugins),
        signature=Signature(signature.mode, signature.present, signature.verified, signature.reason),
        refused=response.refused,
    )


def ruling(parameters: Mapping[str, Any]) -> Ruling | None:
    """The ruling in the parameters of an answer; None where it was not asked for, or the server asks nobody."""
    if "licence_verdict" not in parameters:
        return None
    said = {name: parameters[f"licence_{name}"].string_param for name in _RULING}
    return Ruling(
        value=said["verdict"],
        reason=said["reason"],
        proof_id=said["proof"],
        concluded=said["concluded"],
        display=tuple(json.loads(said["display"])),
        obligations=tuple(Obligation(**duty) for duty in json.loads(said["duties"])),
    )


def _verdict(message: pb.LicenceVerdict) -> LicenceVerdict:
    return LicenceVerdict(
        act=message.act,
        value=message.value,
        action=message.action,
        reason=message.reason,
        proof_id=message.proof_id,
        proof=json.loads(message.proof),
        tree=message.tree,
        obligations=tuple(Obligation(o.duty, o.licence, o.payload) for o in message.obligations),
    )
