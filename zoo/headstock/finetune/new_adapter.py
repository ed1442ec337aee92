"""Low-rank adapters in training: put into the frozen backbone's layers by peft, and taken out as an artefact."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from headstock.adapter.parameters import load_parameters
from headstock.backbone.restore import Restored
from headstock.errors import FailedPrecondition, InvalidInput
from headstock.finetune.strategy import Strategy
from headstock.records import AdapterIdentity, Artefact

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.servable import ServableAdapter, ServableBackbone


def insert(restored: Restored, strategy: Strategy) -> None:
    """Put an adapter into every linear layer of the live groups; B begins at zero, so nothing changes yet.

    LoRA (Hu et al. 2021, arXiv:2106.09685), drawn from torch's current generator. Raises `InvalidInput` where no
    live layer is linear, `FailedPrecondition` without peft.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise FailedPrecondition(
            "peft is not installed, and strategy 'lora' needs it", fix="pip install 'headstock[train]'"
        ) from error
    prefixes = tuple(p for group in restored.groups if group.name in strategy.live for p in group.prefixes)
    layers = [
        (name, layer) for name, layer in restored.module.named_modules() if name.startswith(prefixes) and _linear(layer)
    ]
    if not layers:
        raise InvalidInput(
            f"this {restored.identity.family} backbone has no linear layer in {list(strategy.live)}, and an adapter "
            "changes linear layers",
            fix="--strategy lp-ft, or another backbone",
        )
    config = LoraConfig(
        r=strategy.lora_rank,
        lora_alpha=strategy.lora_alpha,
        lora_dropout=0.0,
        bias="none",
        target_modules=[name for name, _ in layers],
        fan_in_fan_out=not isinstance(layers[0][1], torch.nn.Linear),
    )
    inject_adapter_in_model(config, restored.module)
    restored.module.eval()


def resume(restored: Restored, adapter: ServableAdapter) -> None:
    """Give the adapter that `insert` has just put in the weights of an earlier one of the same rank.

    Raises `FailedPrecondition` if that one changes other layers.
    """
    layers = {
        name.removesuffix(".lora_A"): restored.module.get_submodule(name.removesuffix(".lora_A"))
        for name, _ in restored.module.named_modules()
        if name.endswith(".lora_A")
    }
    targets, rank = adapter.identity.targets, adapter.identity.rank
    if tuple(sorted(layers)) != tuple(targets):
        raise FailedPrecondition(
            f"the parent's adapter changes {len(targets)} layers and the strategy's live layer groups hold "
            f"{len(layers)}; an adapter goes on in the layers that it has",
            fix="leave --strategy out: the parent's own is the default",
        )
    with torch.no_grad():
        for name, pair in load_parameters(adapter.parameters, targets, rank).items():
            layer = layers[name]
            lowered, raised = (layer.get_submodule(f"lora_{part}.default") for part in "AB")
            lowered.get_parameter("weight").copy_(torch.from_numpy(pair.a.T))
            scaling: float = getattr(layer, "scaling")["default"]  # noqa: B009
            raised.get_parameter("weight").copy_(torch.from_numpy(pair.b.T / scaling))


def take(catalogue: Catalogue, backbone: ServableBackbone, restored: Restored) -> Artefact:
    """Store what the adapter has learnt; call it inside `Catalogue.writing`.

    Raises as `adapter_artefact` does, and `FailedPrecondition` if the graph under the adapter disagrees with torch.
    """
    artefact = _stored(catalogue, backbone, restored)
    require_torch_parity(catalogue, artefact, restored, backbone)
    return artefact


def require_torch_parity(
    catalogue: Catalogue, artefact: Artefact, restored: Restored, backbone: ServableBackbone
) -> None:
    """Raise `FailedPrecondition` unless the adapters' graph under this adapter is what torch computes with it."""
    from headstock.adapter.adapted import AdaptedGraph
    from headstock.backbone.parity import measure_parity, require_parity
    from headstock.backbone.samples import samples_for
    from headstock.servable import servable_adapter

    preprocessor = backbone.open_preprocessor()
    graph = AdaptedGraph(servable_adapter(catalogue, artefact))
    restored.module.eval()
    samples = samples_for(preprocessor)
    require_parity(measure_parity(restored.module, graph, preprocessor, samples, backbone.identity.taps))


def _stored(catalogue: Catalogue, backbone: ServableBackbone, restored: Restored) -> Artefact:
    from headstock.adapter import adapter_artefact, peft_parameters, target_weights

    pairs = peft_parameters(restored.module)
    weights = target_weights(restored.module, pairs)
    for edge in catalogue.edges(parent=backbone.digest):
        if edge.relation == "adapter_of":
            earlier = catalogue.artefact(edge.child)
            known = AdapterIdentity.from_json(earlier.identity)
            rank = next(iter(pairs.values())).a.shape[1]
            if known.targets == tuple(sorted(pairs)) and known.rank == rank:
                return adapter_artefact(catalogue, backbone.digest, pairs, weights, graph=earlier.files["graph"])
    return adapter_artefact(catalogue, backbone.digest, pairs, weights)


def is_changed(restored: Restored) -> bool:
    """False where the best weights of a run are those before the adapter moved: B is zero everywhere."""
    return any(bool(value.any()) for name, value in restored.module.state_dict().items() if ".lora_B." in name)


def _linear(layer: torch.nn.Module) -> bool:
    return isinstance(layer, torch.nn.Linear) or type(layer).__name__ == "Conv1D"
