"""The DistilBERT network with named taps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from headstock_text.backbone import Taps, TextBackbone
from headstock_text.pooling import masked_mean


class DistilBertBackbone(TextBackbone):
    """A DistilBERT encoder; `forward` returns its taps by name."""

    prefixes: ClassVar[tuple[str, ...]] = ("distilbert.",)
    dropped: ClassVar[re.Pattern[str]] = re.compile(r"vocab_|pre_classifier\.|classifier\.|embeddings\.position_ids$")
    embedding_names: ClassVar[tuple[str, ...]] = ("distilbert.embeddings.",)
    layer_names: ClassVar[str] = "distilbert.transformer.layer."

    def __init__(self, architecture: Mapping[str, Any]) -> None:
        super().__init__(architecture)
        from transformers import DistilBertConfig, DistilBertModel

        config = DistilBertConfig(**architecture)
        config._attn_implementation = "eager"
        self.distilbert = DistilBertModel(config)
        self.width: int = architecture["dim"]
        self.layers: int = architecture["n_layers"]

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Taps:
        """Taps of INT64 [n, len] inputs: `tokens` [n, len, d], `cls` [n, d], `mean` [n, d], FP32."""
        tokens = self.distilbert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return {"tokens": tokens, "cls": tokens[:, 0], "mean": masked_mean(tokens, attention_mask)}
