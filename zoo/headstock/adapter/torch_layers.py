"""Adapters on the torch side: the layers' own weights, what peft has learnt, and an adapter folded into its layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from headstock.adapter.parameters import Pair
from headstock.errors import InvalidInput, Unsupported

if TYPE_CHECKING:
    import torch

    from headstock.adapter.parameters import Floats

_WRAPPED = "base_model.model."


def target_weights(module: torch.nn.Module, names: Iterable[str]) -> dict[str, Floats]:
    """Weights [in, out] of the named linear layers, under peft's wrapping or not; raises `Unsupported` for others."""
    import torch

    found: dict[str, Floats] = {}
    for name in names:
        try:
            layer = module.get_submodule(name)
        except AttributeError:
            raise InvalidInput(f"the backbone has no layer {name!r}") from None
        layer = getattr(layer, "base_layer", layer)
        if isinstance(layer, torch.nn.Linear):
            found[name] = layer.weight.detach().cpu().numpy().T
        elif type(layer).__name__ == "Conv1D":
            # GPT-2's linear layer keeps [in, out].
            weight = layer.get_parameter("weight")
            found[name] = weight.detach().cpu().numpy()
        else:
            raise Unsupported(f"layer {name!r} is a {type(layer).__name__}; an adapter changes linear layers")
    return found


def peft_parameters(model: torch.nn.Module, adapter: str = "default") -> dict[str, Pair]:
    """A and B of a peft model's LoRA layers by the backbone's module names, scaling folded into B.

    Raises `Unsupported` for variants that are not y = x W + (x A) B, and `InvalidInput` if there is no such adapter.
    """
    import numpy as np

    found: dict[str, Pair] = {}
    for name, layer in model.named_modules():
        lowered = getattr(layer, "lora_A", None)
        if lowered is None or adapter not in lowered:
            continue
        if getattr(layer, "use_dora", {}).get(adapter):
            raise Unsupported(f"layer {name!r} uses DoRA, which is not a plain low-rank change")
        if getattr(layer, "lora_bias", {}).get(adapter):
            raise Unsupported(f"layer {name!r} has a bias in its change; train with lora_bias=False")
        a = lowered[adapter].weight.detach().float().cpu().numpy().T
        b = layer.get_submodule(f"lora_B.{adapter}").get_parameter("weight").detach().float().cpu().numpy().T
        scaled = b * np.float32(getattr(layer, "scaling")[adapter])  # noqa: B009
        found[name.removeprefix(_WRAPPED)] = Pair(np.ascontiguousarray(a), np.ascontiguousarray(scaled))
    if not found:
        raise InvalidInput(f"the model has no LoRA layers of adapter {adapter!r}")
    return found


def fold(module: torch.nn.Module, parameters: Mapping[str, Pair]) -> None:
    """Add each layer's A B to its weight, in place: x (W + A B) for x W + (x A) B. The sum is FP64 before it is stored.

    Raises `InvalidInput` for a layer that the module lacks and `Unsupported` for one that is not linear.
    """
    import numpy as np
    import torch

    for name, weight in target_weights(module, parameters).items():
        a, b = (part.astype(np.float64) for part in parameters[name])
        folded = (weight.astype(np.float64) + a @ b).astype(np.float32)
        layer = module.get_submodule(name)
        flipped = folded.T if isinstance(layer, torch.nn.Linear) else folded
        with torch.no_grad():
            layer.get_parameter("weight").copy_(torch.from_numpy(np.ascontiguousarray(flipped)))
