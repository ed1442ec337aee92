"""An aligned tower as a version of the catalogue, with what it learned from and from whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from headstock.finetune.recipe import Recipe
from headstock.records import Artefact, Edge, Publication, Version, artefact_of
from headstock.report.probed import retrieval_statement
from headstock.sources.plugin_code import code_evidence
from headstock_multimodal.align.report import summary
from headstock_multimodal.heads.towers import PLUGIN, Tower

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.finetune.new_backbone import NewBackbone
    from headstock.plugin_host import PluginHost
    from headstock.sources.fetched import Statement


def publish(
    catalogue: Catalogue,
    host: PluginHost,
    name: str,
    role: str,
    towers: Mapping[str, Tower],
    made: NewBackbone,
    recipe: Recipe,
    report: Mapping[str, Any],
    dataset: Artefact,
    stated: Statement,
) -> Version:
    """Add a version of backbone `name`: the tower that reads `role`, with the report that both share."""
    manifest = next(m for m in host.manifests() if m.name == PLUGIN)
    plugin = artefact_of(
        "plugin", {"kind": "plugin", "distribution": manifest.distribution, "version": manifest.version}
    )
    store, artefact = catalogue.store, made.admitted.artefact
    kept = {"recipe": store.put_json(recipe.to_json()), "report": store.put_json(dict(report))}
    backbone = replace(artefact, files={**artefact.files, **kept})
    other = towers["text" if role == "image" else "image"]
    judged = retrieval_statement(backbone.digest, report["retrieval"], report["data"]["name"])
    return catalogue.publish(
        Publication(
            name=name,
            kind="backbone",
            subject=backbone.digest,
            artefacts=(backbone, dataset, plugin),
            edges=(
                *made.edges(dataset.digest, recipe.strategy.initial),
                Edge(backbone.digest, "trained_on_outputs_of", other.digest),
                Edge(backbone.digest, "built_by_plugin", plugin.digest),
            ),
            evidence=(stated.about(dataset.digest), made.evidence(), judged, *code_evidence(plugin)),
            certificates=made.certificates,
            details=summary(made, towers[role].name, report),
        )
    )
