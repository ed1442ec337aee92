"""The GPT-2 network with named taps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from headstock_text.backbone import Taps, TextBackbone
from headstock_text.pooling import last_token, masked_mean


class GptBackbone(TextBackbone):
    """A GPT-2 network without cache; `forward` returns its taps by name."""

    prefixes: ClassVar[tuple[str, ...]] = ("transformer.",)
    # Older checkpoints hold the causal mask of every layer as a buffer.
    dropped: ClassVar[re.Pattern[str]] = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)$|lm_head\.")
    embedding_names: ClassVar[tuple[str, ...]] = ("transformer.wte.", "transformer.wpe.")
    layer_names: ClassVar[str] = "transformer.h."
    last_names: ClassVar[tuple[str, ...]] = ("transformer.ln_f.",)

    def __init__(self, architecture: Mapping[str, Any]) -> None:
        super().__init__(architecture)
        from transformers import GPT2Config, GPT2Model

        # The network has no use for the ids of its ends, and warns where the vocabulary is smaller than they are.
        config = GPT2Config(**architecture, use_cache=False, bos_token_id=None, eos_token_id=None)
        config._attn_implementation = "eager"
        self.transformer = GPT2Model(config)
        self.width: int = architecture["n_embd"]
        self.layers: int = architecture["n_layer"]

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Taps:
        """Taps of INT64 [n, len] inputs, padded on the right: `tokens` [n, len, d], `last` [n, d], `mean` [n, d]."""
        tokens = self.transformer(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
        return {
            "tokens": tokens,
            "last": last_token(tokens, attention_mask),
            "mean": masked_mean(tokens, attention_mask),
        }
