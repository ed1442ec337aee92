"""CLIP's vision tower with named taps, filled strictly from a safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from headstock.checkpoint import read_weights
from headstock_vision.backbone import ImageBackbone, Taps, constructed, fill

_OTHERS = ("text_model.", "text_projection.", "logit_scale")


class ClipVisionBackbone(ImageBackbone):
    """A vision tower with its projection; `forward` returns its taps by name."""

    def __init__(self, architecture: Mapping[str, Any], size: tuple[int, int]) -> None:
        super().__init__((architecture["num_channels"], *size))
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        sizes = {key: value for key, value in architecture.items() if key != "space"}
        config = CLIPVisionConfig(**sizes)
        config._attn_implementation = "eager"
        self.clip = CLIPVisionModelWithProjection(config)
        self.layers: int = architecture["num_hidden_layers"]
        self.grid: int = architecture["image_size"] // architecture["patch_size"]

    def forward(self, pixel_values: torch.Tensor) -> Taps:
        """Taps of FP32 [n, c, h, w] with p x p patches: `tokens` [n, 1 + p * p, d], `feature_map` [n, p, p, d],
        `pooled` [n, d], `embedding` [n, e] of length 1.
        """
        seen = self.clip.vision_model(pixel_values=pixel_values)
        embedding = torch.nn.functional.normalize(self.clip.visual_projection(seen.pooler_output), dim=-1)
        tokens = seen.last_hidden_state
        return {
            "tokens": tokens,
            "feature_map": tokens[:, 1:].unflatten(1, (self.grid, self.grid)),
            "pooled": seen.pooler_output,
            "embedding": embedding,
        }


def load_clip_vision(weights: Path, architecture: Mapping[str, Any], what: str) -> ClipVisionBackbone:
    """A vision tower; raises `InvalidInput` unless every weight fits."""
    edge = architecture["image_size"]
    # Fresh weights are drawn before they are overwritten; that may not move the caller's random generator.
    with torch.random.fork_rng(devices=[]):
        backbone = constructed(ClipVisionBackbone, architecture, (edge, edge), what)
    fill(backbone, read_weights(weights), what, prefix="", rename=_own_name)
    return backbone


def _own_name(name: str) -> str | None:
    if name.startswith(_OTHERS) or name == "vision_model.embeddings.position_ids":
        return None
    return f"clip.{name}"
