"""The family of CLIP's text towers: which checkpoints it reads, and what they turn into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from headstock.digest import Digest
from headstock.hookspecs import SourceFiles
from headstock.records import Tap
from headstock_multimodal.space import embedding_space, own_space, tower_settings
from headstock_text.family import TextFamily
from headstock_text.tokenizer import Legacy

if TYPE_CHECKING:
    import torch

    from headstock_multimodal.clip_text.module import ClipTextBackbone
    from headstock_text.backbone import TextBackbone


class ClipTextFamily(TextFamily):
    """Text towers of CLIP, from transformers checkpoints of the whole model or of the tower.

    Taps: `tokens`, `pooled` (the end token's features) and `embedding` (projected, of length 1: similarity in the space
    is the cosine, so a zero-shot classifier is a linear head on the other tower's `embedding`). The architecture names
    the space, so that towers of one checkpoint find each other.
    """

    name: ClassVar[str] = "clip-text"
    title: ClassVar[str] = "CLIP"
    model_types: ClassVar[tuple[str, ...]] = ("clip", "clip_text_model")
    class_prefix: ClassVar[str] = "CLIP"
    legacy: ClassVar[Legacy] = "clip-bpe"
    published: ClassVar[Mapping[str, int | float | str]] = {
        "hidden_size": 512,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "intermediate_size": 2048,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": 77,
        "vocab_size": 49408,
        "eos_token_id": 49407,
        "projection_dim": 512,
    }

    def network(self) -> type[TextBackbone]:
        """The tower with its projection."""
        from headstock_multimodal.clip_text.module import ClipTextBackbone

        return ClipTextBackbone

    def settings(self, files: SourceFiles) -> Mapping[str, Any]:
        """The text tower's part."""
        return tower_settings(files, "text")

    def architecture(self, files: SourceFiles) -> Mapping[str, Any]:
        """Sizes, activation, the end token, and the embedding space."""
        return {**super().architecture(files), "space": embedding_space(files)}

    def retrained(self, architecture: Mapping[str, Any], weights: Digest) -> Mapping[str, Any]:
        """The same tower in a space of its own."""
        return own_space(architecture, weights)

    def taps(self, module: torch.nn.Module) -> Sequence[Tap]:
        """`tokens` [n, len, d], `pooled` [n, d], `embedding` [n, e]."""
        backbone = cast("ClipTextBackbone", module)
        shapes = {"tokens": (-1, -1, backbone.width), "pooled": (-1, backbone.width)}
        return tuple(Tap(n, s) for n, s in {**shapes, "embedding": (-1, backbone.embedding)}.items())
