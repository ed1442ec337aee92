"""The RoBERTa family: which checkpoints it reads, and what they turn into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from headstock_text.family import TextFamily
from headstock_text.tokenizer import Legacy

if TYPE_CHECKING:
    from headstock_text.backbone import TextBackbone


class RobertaFamily(TextFamily):
    """Encoders with RoBERTa's architecture, from transformers checkpoints.

    Taps: `tokens`, `cls` (the first token, `<s>`), `mean` (over real tokens). There is one token type, so there is no
    input for it. Positions are counted from `pad_token_id + 1`, which is why that id is part of the architecture.
    """

    name: ClassVar[str] = "roberta"
    title: ClassVar[str] = "RoBERTa"
    model_types: ClassVar[tuple[str, ...]] = ("roberta", "xlm-roberta")
    class_prefix: ClassVar[str] = "Roberta"
    legacy: ClassVar[Legacy] = "framed-byte-bpe"
    masks: ClassVar[tuple[str, ...]] = ("<mask>", "[MASK]")
    published: ClassVar[Mapping[str, int | float | str]] = {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "vocab_size": 50265,
        "pad_token_id": 1,
    }

    def network(self) -> type[TextBackbone]:
        """The encoder without pooler and task head."""
        from headstock_text.roberta.module import RobertaBackbone

        return RobertaBackbone

    def positions(self, architecture: Mapping[str, Any]) -> int:
        """512 tokens of the published 514 positions: those up to the padding's own are never a token's."""
        return int(architecture["max_position_embeddings"] - architecture["pad_token_id"] - 1)
