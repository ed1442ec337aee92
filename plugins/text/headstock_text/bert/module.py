"""The BERT network with named taps, filled strictly from a safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from headstock.checkpoint import load_strict, read_weights
from headstock_text.pooling import masked_mean


class BertBackbone(torch.nn.Module):
    """A BERT encoder; `forward` returns its taps by name."""

    def __init__(self, architecture: Mapping[str, Any]) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        options = {k: v for k, v in architecture.items() if k != "position_embedding_type"}
        # "eager" exports to the fewest nodes: a fused kernel's guard against NaN costs 8 % at 128 tokens.
        config = BertConfig(**options)
        config._attn_implementation = "eager"
        self.bert = BertModel(config, add_pooling_layer=False)
        self.width: int = architecture["hidden_size"]
        self.layers: int = architecture["num_hidden_layers"]

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Taps of INT64 [n, len] inputs: `tokens` [n, len, d], `cls` [n, d], `mean` [n, d], FP32."""
        tokens = self.bert(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state
        return {"tokens": tokens, "cls": tokens[:, 0], "mean": masked_mean(tokens, attention_mask)}


def load_bert(weights: Path, architecture: Mapping[str, Any], what: str) -> BertBackbone:
    """A BERT encoder in eval mode, FP32, on the CPU; raises `InvalidInput` unless every weight fits."""
    tensors = read_weights(weights)
    # A checkpoint with a task head keeps the encoder under `bert.`; all else in it is that head.
    prefix = "bert." if any(name.startswith("bert.") for name in tensors) else ""

    def rename(name: str) -> str | None:
        if not name.startswith(prefix):
            return None
        name = name.removeprefix(prefix)
        if name.startswith(("pooler.", "cls.", "classifier.")) or name == "embeddings.position_ids":
            return None
        # TensorFlow's names of layer norm survive in the oldest checkpoints.
        for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
            if name.endswith(f"LayerNorm{old}"):
                name = name.removesuffix(old) + new
        return f"bert.{name}"

    # Fresh weights are drawn before they are overwritten; that may not move the caller's random generator.
    with torch.random.fork_rng(devices=[]):
        backbone = BertBackbone(architecture)
    load_strict(backbone, tensors, rename=rename, what=repr(what))
    return backbone.eval()
