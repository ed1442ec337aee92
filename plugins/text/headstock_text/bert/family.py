"""The BERT family: which checkpoints it reads, and what they turn into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from headstock_text.family import TextFamily

if TYPE_CHECKING:
    from headstock_text.backbone import TextBackbone


class BertFamily(TextFamily):
    """Encoders with BERT's architecture, from transformers checkpoints.

    Taps: `tokens`, `cls` (the first token), `mean` (over real tokens).
    """

    name: ClassVar[str] = "bert"
    title: ClassVar[str] = "BERT"
    model_types: ClassVar[tuple[str, ...]] = ("bert",)
    class_prefix: ClassVar[str] = "Bert"
    tensors: ClassVar[tuple[str, ...]] = ("input_ids", "attention_mask", "token_type_ids")
    masks: ClassVar[tuple[str, ...]] = ("[MASK]", "<mask>")
    published: ClassVar[Mapping[str, int | float | str]] = {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "vocab_size": 30522,
        "position_embedding_type": "absolute",
    }

    def network(self) -> type[TextBackbone]:
        """The encoder without pooler and task head."""
        from headstock_text.bert.module import BertBackbone

        return BertBackbone
