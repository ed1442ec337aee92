"""CLIP's text tower with named taps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from headstock_text.backbone import Taps, TextBackbone
from headstock_text.pooling import token_at

# Configurations from before transformers knew the end token's id; in the published vocabulary it is the highest.
_UNKNOWN_END = 2


class ClipTextBackbone(TextBackbone):
    """A causal text tower with its projection; `forward` returns its taps by name."""

    prefixes: ClassVar[tuple[str, ...]] = ("clip.",)
    dropped: ClassVar[re.Pattern[str]] = re.compile(
        r"vision_model\.|visual_projection\.|logit_scale$|text_model\.embeddings\.position_ids$"
    )
    embedding_names: ClassVar[tuple[str, ...]] = ("clip.text_model.embeddings.",)
    layer_names: ClassVar[str] = "clip.text_model.encoder.layers."
    last_names: ClassVar[tuple[str, ...]] = ("clip.text_model.final_layer_norm.", "clip.text_projection.")

    def __init__(self, architecture: Mapping[str, Any]) -> None:
        super().__init__(architecture)
        from transformers import CLIPTextConfig, CLIPTextModelWithProjection

        sizes = {key: value for key, value in architecture.items() if key != "space"}
        config = CLIPTextConfig(**sizes, bos_token_id=None, pad_token_id=None)
        config._attn_implementation = "eager"
        self.clip = CLIPTextModelWithProjection(config)
        self.width: int = architecture["hidden_size"]
        self.layers: int = architecture["num_hidden_layers"]
        self.embedding: int = architecture["projection_dim"]
        self.end: int = architecture["eos_token_id"]

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Taps:
        """Taps of INT64 [n, len] inputs: `tokens` [n, len, d], `pooled` [n, d], `embedding` [n, e] of length 1."""
        tokens = self.clip.text_model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        pooled = token_at(tokens, self._ends(input_ids, attention_mask))
        embedding = torch.nn.functional.normalize(self.clip.text_projection(pooled), dim=-1)
        return {"tokens": tokens, "pooled": pooled, "embedding": embedding}

    def _ends(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Position INT64 [n] of each row's first end token; 0 for a row without one."""
        # Padding may hold any id, so it is looked at only where the mask is 1.
        rank = ids * mask if self.end == _UNKNOWN_END else (ids == self.end).to(ids.dtype) * mask
        return rank.to(torch.int32).argmax(dim=1)
