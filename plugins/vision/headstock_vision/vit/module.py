"""The ViT network with named taps, filled strictly from weights by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from headstock_vision.backbone import ImageBackbone, Taps, constructed, fill

# Names in checkpoints, as they were saved before transformers renamed the modules, and still are on the hub.
_RENAMED = (
    (r"^encoder\.layer\.", "layers."),
    (r"\.attention\.attention\.(query|key|value)\.", r".attention.\1."),
    (r"\.attention\.query\.", ".attention.q_proj."),
    (r"\.attention\.key\.", ".attention.k_proj."),
    (r"\.attention\.value\.", ".attention.v_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
)


class VitBackbone(ImageBackbone):
    """A ViT encoder; `forward` returns its taps by name."""

    def __init__(self, architecture: Mapping[str, Any], size: tuple[int, int]) -> None:
        super().__init__((architecture["num_channels"], *size))
        from transformers import ViTConfig, ViTModel

        self.vit = ViTModel(ViTConfig(**{**architecture, "attn_implementation": "sdpa"}), add_pooling_layer=False)
        self.layers: int = architecture["num_hidden_layers"]
        self.grid: int = architecture["image_size"] // architecture["patch_size"]

    def forward(self, pixel_values: torch.Tensor) -> Taps:
        """Taps of FP32 [n, c, h, w] with p x p patches: `pooled` [n, d], `feature_map` [n, p, p, d],
        `tokens` [n, 1 + p * p, d], `cls` [n, d], FP32, all after the last layer norm.
        """
        tokens = self.vit(pixel_values=pixel_values).last_hidden_state
        patches = tokens[:, 1:]
        return {
            "pooled": _mean(patches),
            "feature_map": patches.unflatten(1, (self.grid, self.grid)),
            "tokens": tokens,
            "cls": tokens[:, 0],
        }


def _mean(patches: torch.Tensor) -> torch.Tensor:
    """Mean [n, d] over the middle axis of [n, p, d], as a product with 1/p.

    ONNX Runtime's own mean over a middle axis adds one row in another order than several, which moves the last bits.
    """
    count = patches.shape[1]
    return (patches.new_full((1, count), 1 / count) @ patches).squeeze(1)


def load_vit(weights: Mapping[str, torch.Tensor], architecture: Mapping[str, Any], what: str) -> VitBackbone:
    """A ViT; raises `InvalidInput` unless every weight fits."""
    edge = architecture["image_size"]
    backbone = constructed(VitBackbone, architecture, (edge, edge), what)
    fill(backbone, weights, what, prefix="vit.", rename=_own_name)
    return backbone


def _own_name(name: str) -> str | None:
    if name.startswith("pooler.") or name == "embeddings.mask_token":
        return None
    for old, new in _RENAMED:
        name = re.sub(old, new, name)
    return f"vit.{name}"
