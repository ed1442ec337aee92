"""Makes an adapter's artefact: its parameters, and the graph that serves every adapter of its kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from headstock.adapter.graph import lora_graph
from headstock.adapter.parameters import Pair, check_parameters
from headstock.adapter.proof import certify_adapters
from headstock.digest import Digest, short
from headstock.errors import InvalidInput, NotFound
from headstock.records import AdapterIdentity, Artefact, artefact_of
from headstock.servable import load_backbone

if TYPE_CHECKING:
    from headstock.adapter.parameters import Floats
    from headstock.catalogue import Catalogue


def adapter_artefact(
    catalogue: Catalogue,
    backbone: Digest,
    parameters: Mapping[str, Pair],
    weights: Mapping[str, Floats],
    *,
    graph: Digest | None = None,
) -> Artefact:
    """Store an adapter's blobs and return its artefact, to be published with an edge `adapter_of` to the backbone.

    Call it inside `Catalogue.writing()`. `weights` are the same layers' weights [in, out] (`target_weights`). Adapters
    of one backbone, rank and set of layers share their `graph` blob, and so their batches, and with it the isolation
    certificate that says whether rows with different adapters may meet; pass an earlier one's `graph` to spare making
    both again. Raises `InvalidInput` for parameters that do not fit the layers, and what
    `lora_graph` raises.
    """
    from safetensors.numpy import save

    rank = check_parameters(parameters)
    _check_fits(parameters, weights)
    files = catalogue.artefact(backbone).files
    if "graph" not in files:
        raise NotFound(f"backbone {short(backbone)} has no exported graph", fix="pull the backbone again")
    targets = tuple(sorted(parameters))
    tensors = {f"{name}.{part}": array for name in targets for part, array in zip("AB", parameters[name], strict=True)}
    blob = catalogue.store.put_bytes(save(tensors))
    if graph is None:
        graph = catalogue.store.put_bytes(lora_graph(catalogue.store.path(files["graph"]), weights, rank))
    certificate = _known_certificate(catalogue, backbone, graph)
    if certificate is None:
        certificate = _certified(catalogue, backbone, graph, parameters)
    identity = AdapterIdentity(backbone, rank, targets, blob)
    return artefact_of("adapter", identity.to_json(), {"parameters": blob, "graph": graph, "certificate": certificate})


def _known_certificate(catalogue: Catalogue, backbone: Digest, graph: Digest) -> Digest | None:
    """That of an earlier adapter with the same graph."""
    for edge in catalogue.edges(parent=backbone):
        if edge.relation == "adapter_of":
            files = catalogue.artefact(edge.child).files
            if files.get("graph") == graph and "certificate" in files:
                return files["certificate"]
    return None


def _certified(catalogue: Catalogue, backbone: Digest, graph: Digest, parameters: Mapping[str, Pair]) -> Digest:
    from headstock.backbone.samples import samples_for
    from headstock.graph import Graph

    servable = load_backbone(catalogue, backbone)
    preprocessor = servable.open_preprocessor()
    opened = Graph(catalogue.store.path(graph))
    made = certify_adapters(opened, servable.identity, preprocessor, samples_for(preprocessor), parameters)
    return catalogue.store.put_json(asdict(made))


def _check_fits(parameters: Mapping[str, Pair], weights: Mapping[str, Floats]) -> None:
    if sorted(parameters) != sorted(weights):
        raise InvalidInput(f"the adapter changes layers {sorted(parameters)}; weights were given of {sorted(weights)}")
    for name, (a, b) in parameters.items():
        if (len(a), b.shape[1]) != weights[name].shape:
            raise InvalidInput(
                f"layer {name!r} maps {weights[name].shape[0]} to {weights[name].shape[1]} values; "
                f"the adapter's A and B map {len(a)} to {b.shape[1]}"
            )
