"""The GPT family (GPT-2's line): which checkpoints it reads, and what they turn into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from headstock.checkpoint import plain_value
from headstock.hookspecs import SourceFiles
from headstock_text.family import TextFamily
from headstock_text.tokenizer import Legacy

if TYPE_CHECKING:
    from headstock_text.backbone import TextBackbone


class GptFamily(TextFamily):
    """Causal networks with GPT-2's architecture, from transformers checkpoints, padded on the right.

    Taps: `tokens`, `last` (the last real token, the only one that has seen the whole text) and `mean` (over real
    tokens). Most checkpoints have no padding token: any id does, for it is masked and nothing looks back at it.
    """

    name: ClassVar[str] = "gpt"
    title: ClassVar[str] = "GPT-2"
    model_types: ClassVar[tuple[str, ...]] = ("gpt2",)
    class_prefix: ClassVar[str] = "GPT2"
    pooled: ClassVar[tuple[str, ...]] = ("last", "mean")
    legacy: ClassVar[Legacy] = "byte-bpe"
    published: ClassVar[Mapping[str, int | float | str]] = {
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "n_positions": 1024,
        "vocab_size": 50257,
    }

    def network(self) -> type[TextBackbone]:
        """The network without the language-model head."""
        from headstock_text.gpt.module import GptBackbone

        return GptBackbone

    def architecture(self, files: SourceFiles) -> Mapping[str, Any]:
        """Sizes, activation and scales; `n_inner` is four times the width where config.json leaves it out."""
        architecture = super().architecture(files)
        inner = plain_value(files.config, "n_inner", 4 * architecture["n_embd"])
        return {**architecture, "n_inner": inner}

    def positions(self, architecture: Mapping[str, Any]) -> int:
        """1024 for the published ones."""
        return int(architecture["n_positions"])
