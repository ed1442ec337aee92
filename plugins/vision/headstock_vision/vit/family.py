"""The ViT family: which checkpoints it reads, and what they turn into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from headstock.errors import InvalidInput
from headstock.hookspecs import LayerGroup, SourceFiles
from headstock.preprocess.image_options import ImageOptions
from headstock_vision.family import ImageFamily
from headstock_vision.timm import TimmLayout
from headstock_vision.timm.vit import TimmVit

if TYPE_CHECKING:
    import torch

    from headstock_vision.backbone import ImageBackbone
    from headstock_vision.vit.module import VitBackbone


class VitFamily(ImageFamily):
    """Vision transformers from transformers checkpoints.

    Taps: `pooled` is the mean of the patch tokens, `cls` the token that supervised checkpoints were trained to
    classify with. The pooler of transformers is left out: many checkpoints come without it and would get a random
    one.
    """

    name: ClassVar[str] = "vit"
    model_type: ClassVar[str] = "vit"
    timm_architecture: ClassVar[str] = r"vit_(tiny|small|base|large|huge)_patch\d+_\d+"
    timm: ClassVar[TimmLayout | None] = TimmVit()
    processor: ClassVar[str] = "ViT"
    published: ClassVar[Mapping[str, Any]] = {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "image_size": 224,
        "patch_size": 16,
        "num_channels": 3,
        "qkv_bias": True,
    }

    def build(self, files: SourceFiles, architecture: Mapping[str, Any], options: ImageOptions) -> ImageBackbone:
        """The encoder without pooler and classifier."""
        from headstock_vision.vit.module import load_vit

        edge = architecture["image_size"]
        if options.output != (edge, edge):
            raise InvalidInput(
                f"{files.spec!r} has positions for {edge} x {edge} pixels but its image processor makes "
                f"{options.output[0]} x {options.output[1]}; expected the same"
            )
        return load_vit(self.weights(files), architecture, files.spec)

    def layer_groups(self, module: torch.nn.Module) -> Sequence[LayerGroup]:
        """`embeddings`, `layer.0` and up, `norm` (the last layer norm)."""
        layers = [LayerGroup(f"layer.{i}", (f"vit.layers.{i}.",)) for i in range(cast("VitBackbone", module).layers)]
        return (
            LayerGroup("embeddings", ("vit.embeddings.",)),
            *layers,
            LayerGroup("norm", ("vit.layernorm.",)),
        )
