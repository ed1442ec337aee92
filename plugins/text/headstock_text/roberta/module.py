"""The RoBERTa network with named taps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from headstock_text.backbone import Taps, TextBackbone
from headstock_text.pooling import masked_mean


class RobertaBackbone(TextBackbone):
    """A RoBERTa encoder; `forward` returns its taps by name."""

    prefixes: ClassVar[tuple[str, ...]] = ("roberta.",)
    dropped: ClassVar[re.Pattern[str]] = re.compile(r"pooler\.|lm_head\.|classifier\.|embeddings\.position_ids$")
    embedding_names: ClassVar[tuple[str, ...]] = ("roberta.embeddings.",)
    layer_names: ClassVar[str] = "roberta.encoder.layer."

    def __init__(self, architecture: Mapping[str, Any]) -> None:
        super().__init__(architecture)
        from transformers import RobertaConfig, RobertaModel

        config = RobertaConfig(**architecture)
        config._attn_implementation = "eager"
        self.roberta = RobertaModel(config, add_pooling_layer=False)
        self.width: int = architecture["hidden_size"]
        self.layers: int = architecture["num_hidden_layers"]

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Taps:
        """Taps of INT64 [n, len] inputs: `tokens` [n, len, d], `cls` [n, d], `mean` [n, d], FP32."""
        # Positions follow from the ids, counted over those that are not the padding's: what stands behind a row's end
        # comes after all that is counted, whatever it is.
        tokens = self.roberta(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=torch.zeros_like(input_ids)
        ).last_hidden_state
        return {"tokens": tokens, "cls": tokens[:, 0], "mean": masked_mean(tokens, attention_mask)}
