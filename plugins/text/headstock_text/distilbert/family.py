"""The DistilBERT family: which checkpoints it reads, and what they turn into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from headstock_text.family import TextFamily

if TYPE_CHECKING:
    from headstock_text.backbone import TextBackbone


class DistilBertFamily(TextFamily):
    """Encoders with DistilBERT's architecture, from transformers checkpoints.

    Taps: `tokens`, `cls` (the first token), `mean` (over real tokens). There are no token types. How positions began
    (`sinusoidal_pos_embds`) is not part of the architecture: checkpoints hold them.
    """

    name: ClassVar[str] = "distilbert"
    title: ClassVar[str] = "DistilBERT"
    model_types: ClassVar[tuple[str, ...]] = ("distilbert",)
    class_prefix: ClassVar[str] = "DistilBert"
    masks: ClassVar[tuple[str, ...]] = ("[MASK]", "<mask>")
    published: ClassVar[Mapping[str, int | float | str]] = {
        "dim": 768,
        "n_layers": 6,
        "n_heads": 12,
        "hidden_dim": 3072,
        "activation": "gelu",
        "max_position_embeddings": 512,
        "vocab_size": 30522,
    }

    def network(self) -> type[TextBackbone]:
        """The encoder without task head."""
        from headstock_text.distilbert.module import DistilBertBackbone

        return DistilBertBackbone
