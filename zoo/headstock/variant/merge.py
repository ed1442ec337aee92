"""Merges a model's adapter into the weights of its backbone: another backbone, whose rows cost what plain ones cost.

The merged weights are other numbers than the row form's, and a row's answer differs in its last bits. So merging is a
decision that somebody takes and the catalogue shows, never one that a server takes by its load: an answer would depend
on who else asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from headstock.adapter import fold, load_parameters
from headstock.adapter.adapted import AdaptedGraph
from headstock.backbone.parity import TapParity
from headstock.backbone.restore import restore
from headstock.backbone.samples import samples_for
from headstock.digest import Digest, digest_json, short
from headstock.errors import FailedPrecondition
from headstock.finetune.new_backbone import NewBackbone, admit, group_digests
from headstock.graph import Graph
from headstock.licences import enforcement
from headstock.licences.facts import MADE_HERE
from headstock.names import Reference, check_name
from headstock.records import (
    Artefact,
    Certificate,
    Edge,
    Evidence,
    ModelIdentity,
    Publication,
    Version,
    artefact_of,
)
from headstock.servable import ServableAdapter, ServableModel, load_model
from headstock.variant.measure import Speed, speeds
from headstock.variant.merged_parity import measure_merged, require_merged

if TYPE_CHECKING:
    from headstock.backbone.prepare import Progress
    from headstock.catalogue import Catalogue
    from headstock.plugin_host import PluginHost

_COMMAND = "headstock variant --merge-adapter"
# Said of the parent's weights and of how a server holds them.
_NOT_INHERITED = ("strategy", "parity", "seconds")


@dataclass(frozen=True, slots=True)
class Merged:
    """A published model whose adapter is in its backbone, and what was measured before it was."""

    version: Version
    parity: Mapping[str, TapParity]
    """How far merged and row form are apart: every tap, and the head's `answers`."""
    speeds: tuple[Speed, ...]
    """`plain` is the row form, `variant` the merged one."""
    certificate: Certificate


def merge_adapter(
    catalogue: Catalogue, host: PluginHost, reference: Reference, name: str, progress: Progress | None = None
) -> Merged:
    """Publish the model `reference` with its adapter folded into its weights, as the next version of model `name`.

    It stands on a new backbone without an adapter, and its head is the same weights bound to that backbone. Merging
    the same model again gives the same version. Raises `FailedPrecondition` for a backbone, for a model without an
    adapter, where the merged form differs from the row form by more than `headstock.backbone.parity.LIMIT`, where its
    rows depend on their neighbours, and for a name that a licence does not allow; `LicenceRefused` where the policy
    refuses the merged model. Nothing is published then.
    """
    step = progress or _ignore
    check_name(name)
    version = catalogue.version(reference)
    model, adapter = _adapted(catalogue, version)
    for warning in _check_licence(catalogue, model, adapter, str(reference), name):
        step(f"warning: {warning}")
    with catalogue.writing(f"merge the adapter of {version}"):
        step(f"folding the adapter of {version} into {len(adapter.identity.targets)} layers")
        restored = restore(catalogue, host, model.backbone.digest, str(version))
        before = group_digests(restored)
        fold(restored.module, load_parameters(adapter.parameters, adapter.identity.targets, adapter.identity.rank))
        made = admit(catalogue, model.backbone, restored, before, step)
        if not made.admitted.certificate.shared:
            raise FailedPrecondition(
                f"with its adapter merged, a row of {version} moves by {made.admitted.certificate.measured:.3g} when "
                f"its neighbours change (allowed {made.admitted.certificate.tolerance:.3g}), so it is not published",
                fix=f"serve {version} as it is",
            )
        found, measured = _proved(model, adapter, made, step)
        step("publishing")
        published = _publish(catalogue, model, adapter, made, found, measured, name)
    return Merged(published, found, tuple(measured), made.admitted.certificate)


def _adapted(catalogue: Catalogue, version: Version) -> tuple[ServableModel, ServableAdapter]:
    """The model and its adapter."""
    if version.kind != "model":
        raise FailedPrecondition(
            f"{version} is a {version.kind}, and an adapter belongs to a model; expected a model that was fine-tuned "
            "with --strategy lora",
            fix="headstock list --kind model, or --precision for a variant of a backbone",
        )
    model = load_model(catalogue, version)
    if model.adapter is None:
        raise FailedPrecondition(
            f"{version} has no adapter to merge: its head stands on backbone {short(model.backbone.digest)} as it is",
            fix="serve it as it is; headstock fine-tune --strategy lora makes a model with an adapter",
        )
    return model, model.adapter


def _proved(
    model: ServableModel, adapter: ServableAdapter, made: NewBackbone, step: Progress
) -> tuple[dict[str, TapParity], list[Speed]]:
    """What was measured of a merged form that passed."""
    step("checking it against the row form")
    preprocessor = model.backbone.open_preprocessor()
    samples = samples_for(preprocessor)
    row_form, merged = AdaptedGraph(adapter), Graph(made.servable.graph)
    found = measure_merged(row_form, merged, model, preprocessor, samples)
    require_merged(found, str(model.version))
    step("timing it beside the row form")
    return found, speeds(row_form, merged, preprocessor, samples, model.head.tap)


def _publish(
    catalogue: Catalogue,
    model: ServableModel,
    adapter: ServableAdapter,
    made: NewBackbone,
    found: Mapping[str, TapParity],
    measured: list[Speed],
    name: str,
) -> Version:
    """Write the merged model; its backbone's certificate has the parity with the row form beside that with torch."""
    old = catalogue.artefact(model.version.subject)
    head = artefact_of(
        "head",
        replace(model.head, backbone=made.digest, adapter=None).to_json(),
        catalogue.artefact(model.head_digest).files,
    )
    merged = artefact_of("model", ModelIdentity(made.digest, head.digest).to_json(), old.files)
    agreement = {what: asdict(value) for what, value in found.items()}
    kept = {key: value for key, value in model.version.details.items() if key not in _NOT_INHERITED}
    strategy = model.version.details.get("strategy")
    details: dict[str, Any] = {
        **kept,
        **({"strategy": f"{strategy}, adapter merged"} if strategy else {}),
        "head": head.digest,
        "merged": {"model": str(model.version), "adapter": adapter.digest, "rank": adapter.identity.rank},
        "agreement": agreement,
        "speeds": [asdict(value) for value in measured],
    }
    return catalogue.publish(
        Publication(
            name=name,
            kind="model",
            subject=merged.digest,
            artefacts=[made.admitted.artefact, head, merged],
            edges=[*_edges(model, adapter, made.digest, head.digest, merged.digest), *_history(catalogue, model, head)],
            evidence=[_made_here(made.digest)],
            certificates=made.certificates,
            details=details,
        )
    )


def _edges(
    model: ServableModel, adapter: ServableAdapter, backbone: Digest, head: Digest, merged: Digest
) -> list[Edge]:
    """Where each part comes from. Through the model that it was, all that bound that one binds this one too."""
    return [
        Edge(backbone, "merged_from", model.backbone.digest),
        Edge(backbone, "merged_from", adapter.digest, "adapter folded into the weights"),
        Edge(head, "head_on", backbone),
        Edge(head, "converted_from", model.head_digest, "the same weights, bound to the merged backbone"),
        Edge(merged, "merged_from", model.version.subject, "adapter folded into the weights"),
    ]


def _history(catalogue: Catalogue, model: ServableModel, head: Artefact) -> list[Edge]:
    """What the head was trained on and built by: the new name of it was, too."""
    earlier = catalogue.edges(child=model.head_digest)
    return [replace(edge, child=head.digest) for edge in earlier if edge.relation not in ("head_on", "converted_from")]


def _made_here(backbone: Digest) -> Evidence:
    return Evidence(backbone, MADE_HERE, "true", "operator", _COMMAND)


def _check_licence(
    catalogue: Catalogue, model: ServableModel, adapter: ServableAdapter, reference: str, name: str
) -> list[str]:
    """Warnings about the merged model, which changes the backbone's weights where the adapter did not."""
    planned: dict[str, dict[str, Any]] = {}

    def plan(kind: str, identity: Mapping[str, Any]) -> Digest:
        value = {**identity, "kind": kind, "planned": True}
        digest = digest_json(value)
        planned[digest] = value
        return digest

    backbone = plan("backbone", model.backbone.identity.to_json())
    head = plan("head", replace(model.head, backbone=backbone, adapter=None).to_json())
    merged = plan("model", ModelIdentity(backbone, head).to_json())
    return enforcement.check_planned(
        catalogue,
        merged,
        planned,
        _edges(model, adapter, backbone, head, merged),
        [_made_here(backbone)],
        f"merging the adapter of {reference!r} into {name!r}",
        reference,
        name,
    )


def _ignore(step: str) -> None:
    """The progress of a caller who does not watch."""
