"""The BERT network with named taps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from headstock_text.backbone import Taps, TextBackbone
from headstock_text.pooling import masked_mean


class BertBackbone(TextBackbone):
    """A BERT encoder; `forward` returns its taps by name."""

    prefixes: ClassVar[tuple[str, ...]] = ("bert.",)
    dropped: ClassVar[re.Pattern[str]] = re.compile(r"pooler\.|cls\.|classifier\.|embeddings\.position_ids$")
    embedding_names: ClassVar[tuple[str, ...]] = ("bert.embeddings.",)
    layer_names: ClassVar[str] = "bert.encoder.layer."

    def __init__(self, architecture: Mapping[str, Any]) -> None:
        super().__init__(architecture)
        from transformers import BertConfig, BertModel

        options = {k: v for k, v in architecture.items() if k != "position_embedding_type"}
        # "eager" exports to the fewest nodes: a fused kernel's guard against NaN costs 8 % at 128 tokens.
        config = BertConfig(**options)
        config._attn_implementation = "eager"
        self.bert = BertModel(config, add_pooling_layer=False)
        self.width: int = architecture["hidden_size"]
        self.layers: int = architecture["num_hidden_layers"]

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor) -> Taps:
        """Taps of INT64 [n, len] inputs: `tokens` [n, len, d], `cls` [n, d], `mean` [n, d], FP32."""
        tokens = self.bert(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state
        return {"tokens": tokens, "cls": tokens[:, 0], "mean": masked_mean(tokens, attention_mask)}
