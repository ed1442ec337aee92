"""timm's vision transformers: one matrix for query, key and value, epsilon 1e-6 (Dosovitskiy et al. 2021)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from headstock.errors import Unsupported
from headstock_vision.timm.layout import TimmLayout, numbered

if TYPE_CHECKING:
    import torch

# Width, layers, heads.
_SIZES = {
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
    "huge": (1280, 32, 16),
}
_RULES = (
    (r"cls_token", "embeddings.cls_token"),
    (r"pos_embed", "embeddings.position_embeddings"),
    (r"patch_embed\.proj\.(\w+)", r"embeddings.patch_embeddings.projection.\1"),
    (r"norm\.(\w+)", r"layernorm.\1"),
    (r"blocks\.(\d+)\.norm1\.(\w+)", r"layers.\1.layernorm_before.\2"),
    (r"blocks\.(\d+)\.norm2\.(\w+)", r"layers.\1.layernorm_after.\2"),
    (r"blocks\.(\d+)\.attn\.proj\.(\w+)", r"layers.\1.attention.o_proj.\2"),
    (r"blocks\.(\d+)\.mlp\.(fc[12])\.(\w+)", r"layers.\1.mlp.\2.\3"),
)


class TimmVit(TimmLayout):
    """`vit_base_patch16_224` and its sizes; without registers, pre-norm or a norm behind the pooling."""

    pattern: ClassVar[str] = r"vit_(tiny|small|base|large|huge)_patch(\d+)_(\d+)"
    known: ClassVar[str] = "vit_SIZE_patchN_PIXELS with SIZE tiny, small, base, large or huge"
    arguments: ClassVar[tuple[str, ...]] = ("embed_dim", "depth", "num_heads", "patch_size", "img_size")

    def sizes(self, match: re.Match[str], arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Width, depth, heads, patches."""
        width, depth, heads = _SIZES[match[1]]
        width = int(arguments.get("embed_dim", width))
        return {
            "hidden_size": width,
            "num_hidden_layers": int(arguments.get("depth", depth)),
            "num_attention_heads": int(arguments.get("num_heads", heads)),
            "intermediate_size": 4 * width,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-6,
            "image_size": _edge("img_size", arguments.get("img_size", match[3])),
            "patch_size": _edge("patch_size", arguments.get("patch_size", match[2])),
            "qkv_bias": True,
        }

    def renamed(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Embeddings, layers with query, key and value apart, last norm."""
        found: dict[str, torch.Tensor] = {}
        for name, tensor in tensors.items():
            joint = re.fullmatch(r"blocks\.(\d+)\.attn\.qkv\.(\w+)", name)
            if joint is not None and tensor.shape[0] % 3 == 0:
                for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                    found[f"layers.{joint[1]}.attention.{part}_proj.{joint[2]}"] = piece.contiguous()
            elif not name.startswith("head."):
                found[numbered(name, _RULES)] = tensor
        return found


def _edge(key: str, size: Any) -> int:
    """One number for a square that timm may write as two."""
    edges = {int(n) for n in (size if isinstance(size, list) else [size])}
    if len(edges) != 1:
        raise Unsupported(f"timm's model_args have {key} {size!r}; expected a square")
    return edges.pop()
