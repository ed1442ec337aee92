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
from headstock.records import (
    Artefact,
    Edge,
    Evidence,
    HeadIdentity,
    ModelIdentity,
    Publication,
    Version,
    artefact_of,
)
from headstock.servable import ServableBackbone
from headstock.sources.plugin_code import code_evidence

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.plugin_host import PluginHost

_READS = {"text": "text", "image": "image", "waveform": "audio", "mfcc": "audio", "table": "tabular"}


@dataclass(frozen=True, slots=True)
class Standing:
    """A backbone of the catalogue to stand on, and the name it was asked for by."""

    name: str
    backbone: ServableBackbone

    @property
    def digest(self) -> Digest:
        """Names the backbone."""
        return self.backbone.digest

    @property
    def reads(self) -> str:
        """`text`, `image`, `audio`, `tabular`."""
        return _READS.get(self.backbone.spec.kind, self.backbone.spec.kind)


@dataclass(frozen=True, slots=True)
class MadeHead:
    """A linear head with all that the catalogue keeps of it."""

    type: str
    task: str
    plugin: str
    """Name of the plugin that made it."""
    standing: Standing
    """The backbone that it stands on."""
    tap: str
    form: LinearForm
    spec: Mapping[str, Any]
    """Postprocessing."""
    report: Mapping[str, Any]
    """How it was made, besides what the other fields say."""
    details: Mapping[str, Any]
    """What `show` prints of that."""


def check_licences(catalogue: Catalogue, standing: Sequence[Standing], name: str) -> list[str]:
    """Warnings about making `name` of these backbones; raises `LicenceRefused` before anything is spent on it."""
    policy = Policy.load(catalogue.settings)
    found = gate.verdicts(catalogue, [one.digest for one in standing], policy=policy)
    return [
        warning
        for one in standing
        for warning in enforcement.check(found[one.digest], policy, f"making {name!r} of {one.name!r}", one.name, name)
    ]


def publish_made(
    catalogue: Catalogue,
    host: PluginHost,
    name: str,
    made: MadeHead,
    edges: Callable[[Digest], Sequence[Edge]] = lambda head: (),
    artefacts: Sequence[Artefact] = (),
    evidence: Sequence[Evidence] = (),
) -> Version:
    """Add a version of `name`; `edges` are those of the head besides its backbone and its plugin, `artefacts` what
    they name besides what is known already, such as the data, and `evidence` what is said of these.

    Raises `AlreadyExists` if `name` is a backbone.
    """
    check_name(name)
    if (taken := catalogue.versions(name)[:1]) and taken[0].kind != "model":
        raise AlreadyExists(f"{name!r} is a {taken[0].kind}; this makes a model", fix="another --name")
    standing = made.standing
    manifest = next(m for m in host.manifests() if m.name == made.plugin)
    plugin = artefact_of(
        "plugin", {"kind": "plugin", "distribution": manifest.distribution, "version": manifest.version}
    )
    common = {"head_type": made.type, "strategy": "none: nothing is trained"}
    with catalogue.writing(f"make {name}"):
        parameters = catalogue.store.put_bytes(parameter_bytes(made.form))
        identity = HeadIdentity(
            type=made.type,
            backbone=standing.digest,
            tap=made.tap,
            form="linear",
            parameters=parameters,
            width=made.form.weight.shape[0],
            out=made.form.weight.shape[1],
            postprocess=made.spec,
        )
        head = artefact_of("head", identity.to_json(), {"parameters": parameters})
        backbone = {"name": standing.name, "digest": standing.digest, "tap": made.tap}
        report = {
            "format": 1,
            **common,
            "task": made.task,
            "input": standing.reads,
            "backbone": backbone,
            **made.report,
        }
        model = artefact_of(
            "model",
            ModelIdentity(standing.digest, head.digest).to_json(),
            {"report": catalogue.store.put_json(report)},
        )
        return catalogue.publish(
            Publication(
                name=name,
                kind="model",
                subject=model.digest,
                artefacts=(head, plugin, model, *artefacts),
                edges=(
                    Edge(head.digest, "head_on", standing.digest),
                    Edge(head.digest, "built_by_plugin", plugin.digest),
                    *edges(head.digest),
                ),
                evidence=(*evidence, *code_evidence(plugin)),
                details={
                    **common,
                    "backbone": standing.name,
                    "tap": made.tap,
                    **made.details,
                    "head": head.digest,
                },
            )
        )
