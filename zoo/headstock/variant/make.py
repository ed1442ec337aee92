"""Makes a variant of a backbone: rewrite, hold against the plain graph, certify, publish; or nothing at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from headstock.backbone.export import admit_graph
from headstock.backbone.isolation import certify
from headstock.backbone.on_device import held_against_cpu
from headstock.backbone.parity import TapParity
from headstock.backbone.samples import Samples, samples_for
from headstock.backbone.workdir import workdir
from headstock.digest import Digest, digest_file, short
from headstock.errors import FailedPrecondition, NotFound
from headstock.graph import Device, Graph
from headstock.licences import enforcement
from headstock.licences.facts import MADE_HERE
from headstock.licences.gate import verdict
from headstock.licences.policy import Policy
from headstock.names import Reference, check_name
from headstock.preprocess import Preprocessor
from headstock.providers import PROVIDER
from headstock.records import BackboneIdentity, Certificate, Edge, Evidence, Publication, Version, artefact_of
from headstock.servable import load_backbone
from headstock.stem.record import CUT_ROLES
from headstock.variant.measure import Agreement, Speed, agreement, require_agreement, require_faster, speeds
from headstock.variant.precision import Precision, precision_named
from headstock.variant.rewrite import rewrite

if TYPE_CHECKING:
    from headstock.backbone.prepare import Progress
    from headstock.catalogue import Catalogue
    from headstock.servable import ServableBackbone

# Documents speak of what was pulled and stay with it.
_LEFT = (
    "graph",
    "certificate",
    "licence",
    "model-licence",
    "use-policy",
    "notice",
    "card",
    "recipe",
    "report",
    *CUT_ROLES,
)


@dataclass(frozen=True, slots=True)
class Made:
    """A published variant and what was measured before it was."""

    version: Version
    agreement: Mapping[str, Agreement]
    speeds: tuple[Speed, ...]
    certificate: Certificate


def make_variant(
    catalogue: Catalogue,
    reference: Reference,
    precision: str,
    name: str,
    progress: Progress | None = None,
    device: Device = "cpu",
) -> Made:
    """Publish `reference` at `precision` as the next version of backbone `name`, proved on `device`.

    Another device is measured when a server loads it there. Its digest is its own, since precision is part of what a
    digest covers. Raises `Unsupported` for a precision whose rows depend on their neighbours, `FailedPrecondition`
    where the graph turns away from the plain one further than the precision allows, fails the isolation check there,
    or is not faster where that is its point, if this machine lacks the device, and for a name that the licence does
    not allow; `LicenceRefused` where the policy refuses what the backbone is. Nothing is published then.
    """
    step = progress or _ignore
    chosen = precision_named(precision)
    check_name(name)
    plain = _original(catalogue, reference)
    for warning in _check_licence(catalogue, plain.digest, reference, name):
        step(f"warning: {warning}")
    preprocessor = plain.open_preprocessor()
    samples = samples_for(preprocessor)
    with workdir(catalogue.settings.cache / "variant") as folder, catalogue.writing(f"variant {name}"):
        step(f"rewriting the graph to {chosen.name}")
        # A missing device is found before minutes of work.
        plain_graph = Graph(plain.graph, device=device)
        path = folder / "graph.onnx"
        rewrite(plain.graph, chosen.name, path, preprocessor, samples.ordinary)
        # Which bits a converter makes depends on its version: the graph's own digest keeps the promise of the name.
        identity = replace(plain.identity, precision=f"{chosen.name}@{short(digest_file(path))}")
        admit_graph(path, identity.inputs, identity.taps)
        graph = Graph(path, device=device)
        found, certificate, measured = _proved(plain_graph, identity, chosen, graph, preprocessor, samples, step)
        certificate = replace(certificate, detail={**certificate.detail, "against": plain.digest})
        if device != "cpu":
            certificate = held_against_cpu(certificate, Graph(path), graph, identity, samples, preprocessor.collate)
        step("storing")
        files = {r: b for r, b in catalogue.artefact(plain.digest).files.items() if r not in _LEFT}
        files["graph"] = catalogue.store.put_file(path)
        files["certificate"] = catalogue.store.put_json(asdict(certificate))
        artefact = artefact_of("backbone", identity.to_json(), files)
        edge = Edge(artefact.digest, chosen.relation, plain.digest, chosen.name)
        made_here = Evidence(artefact.digest, MADE_HERE, "true", "operator", f"headstock variant {chosen.name}")
        details = {
            "source": f"{chosen.name} of {reference.name} {short(plain.digest)}",
            "variant_of": plain.digest,
            "precision": chosen.name,
            "provider": PROVIDER[device],
            "family": identity.family,
            "agreement": {tap: asdict(value) for tap, value in found.items()},
            "speeds": [asdict(value) for value in measured],
        }
        version = catalogue.publish(
            Publication(name, "backbone", artefact.digest, [artefact], [edge], [made_here], [certificate], details)
        )
    return Made(version, found, tuple(measured), certificate)


def _proved(
    reference: Graph,
    identity: BackboneIdentity,
    precision: Precision,
    graph: Graph,
    preprocessor: Preprocessor,
    samples: Samples,
    step: Progress,
) -> tuple[dict[str, Agreement], Certificate, list[Speed]]:
    """What was measured of a graph that passed; raises `FailedPrecondition` for one that did not."""
    step("checking it against the plain graph")
    found = agreement(reference, graph, preprocessor, samples, identity.taps)
    require_agreement(found, precision.least_cosine, precision.name)
    step("checking that a row alone equals the row in company")
    certificate = certify(graph, identity, preprocessor, samples)
    if not certificate.shared:
        raise FailedPrecondition(
            f"at precision {precision.name} a row moves by {certificate.measured:.3g} when its neighbours change "
            f"(allowed {certificate.tolerance:.3g} on {certificate.provider}), so there is no such variant of this "
            "backbone",
            fix="headstock variant with another --precision"
            + (", or --for cuda on a machine with a GPU" if precision.name == "fp16" else ""),
        )
    parity = {tap: asdict(TapParity(value.max_error, value.scale)) for tap, value in found.items()}
    certificate = replace(certificate, detail={**certificate.detail, "parity": parity})
    step("timing it beside the plain graph")
    measured = speeds(reference, graph, preprocessor, samples, identity.taps[-1].name)
    if precision.most_time is not None:
        require_faster(measured, precision.most_time, precision.name)
    return found, certificate, measured


def _original(catalogue: Catalogue, reference: Reference) -> ServableBackbone:
    version = catalogue.version(reference)
    if version.kind != "backbone":
        raise NotFound(
            f"{version} is a {version.kind}, not a backbone", fix="headstock list shows which entries are backbones"
        )
    plain = load_backbone(catalogue, Digest(version.subject))
    if plain.identity.precision != "fp32":
        raise FailedPrecondition(
            f"{version} is itself a variant ({plain.identity.precision}); a variant is made from an FP32 backbone",
            fix="headstock lineage of it names the backbone that it was made from",
        )
    return plain


def _check_licence(catalogue: Catalogue, digest: Digest, reference: Reference, name: str) -> list[str]:
    """Warnings about what will have all terms of the backbone; raises as `make_variant` does."""
    policy = Policy.load(catalogue.settings)
    found = verdict(catalogue, digest, policy=policy)
    return enforcement.check(found, policy, f"making {name!r} of {str(reference)!r}", str(reference), name)


def _ignore(step: str) -> None:
    """The progress of a caller who does not watch."""
