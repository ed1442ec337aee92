"""A head that nothing trained, as a version of the catalogue: judged first, written in one go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headstock.digest import Digest
from headstock.errors import AlreadyExists
from headstock.finetune.publish import parameter_bytes
from headstock.hookspecs import LinearForm
from headstock.licences import enforcement, gate
from headstock.licences.policy import Policy
from headstock.names import check_name
from headstock.records import Edge, HeadIdentity, ModelIdentity, Publication, Version, artefact_of
from headstock_multimodal.heads.towers import Tower

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.plugin_host import PluginHost

PLUGIN = "headstock-multimodal"


@dataclass(frozen=True, slots=True)
class MadeHead:
    """A linear head with all that the catalogue keeps of it."""

    type: str
    task: str
    tower: Tower
    """The backbone that it stands on."""
    tap: str
    form: LinearForm
    spec: Mapping[str, Any]
    """Postprocessing."""
    report: Mapping[str, Any]
    """How it was made, besides what the other fields say."""
    details: Mapping[str, Any]
    """What `show` prints of that."""


def check_licences(catalogue: Catalogue, towers: Sequence[Tower], name: str) -> list[str]:
    """Warnings about making `name` of these backbones; raises `LicenceRefused` before anything is spent on it."""
    policy = Policy.load(catalogue.settings)
    found = gate.verdicts(catalogue, [tower.digest for tower in towers], policy=policy)
    return [
        warning
        for tower in towers
        for warning in enforcement.check(
            found[tower.digest], policy, f"making {name!r} of {tower.name!r}", tower.name, name
        )
    ]


def publish_made(
    catalogue: Catalogue,
    host: PluginHost,
    name: str,
    made: MadeHead,
    edges: Callable[[Digest], Sequence[Edge]] = lambda head: (),
) -> Version:
    """Add a version of `name`; `edges` are those of the head besides its backbone and its plugin.

    Raises `AlreadyExists` if `name` is a backbone.
    """
    check_name(name)
    if (taken := catalogue.versions(name)[:1]) and taken[0].kind != "model":
        raise AlreadyExists(f"{name!r} is a {taken[0].kind}; this makes a model", fix="another --name")
    tower = made.tower
    manifest = next(m for m in host.manifests() if m.name == PLUGIN)
    plugin = artefact_of(
        "plugin", {"kind": "plugin", "distribution": manifest.distribution, "version": manifest.version}
    )
    common = {"head_type": made.type, "strategy": "none: nothing is trained"}
    with catalogue.writing(f"make {name}"):
        parameters = catalogue.store.put_bytes(parameter_bytes(made.form))
        identity = HeadIdentity(
            type=made.type,
            backbone=tower.digest,
            tap=made.tap,
            form="linear",
            parameters=parameters,
            width=made.form.weight.shape[0],
            out=made.form.weight.shape[1],
            postprocess=made.spec,
        )
        head = artefact_of("head", identity.to_json(), {"parameters": parameters})
        backbone = {"name": tower.name, "digest": tower.digest, "tap": made.tap}
        report = {
            "format": 1,
            **common,
            "task": made.task,
            "input": tower.reads,
            "backbone": backbone,
            **made.report,
        }
        model = artefact_of(
            "model",
            ModelIdentity(tower.digest, head.digest).to_json(),
            {"report": catalogue.store.put_json(report)},
        )
        return catalogue.publish(
            Publication(
                name=name,
                kind="model",
                subject=model.digest,
                artefacts=(head, plugin, model),
                edges=(
                    Edge(head.digest, "head_on", tower.digest),
                    Edge(head.digest, "built_by_plugin", plugin.digest),
                    *edges(head.digest),
                ),
                details={
                    **common,
                    "backbone": tower.name,
                    "tap": made.tap,
                    **made.details,
                    "head": head.digest,
                },
            )
        )
