"""The EfficientNet family: which checkpoints it reads, and what they turn into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from headstock.hookspecs import LayerGroup, SourceFiles
from headstock.preprocess.image_options import ImageOptions
from headstock_vision.family import ImageFamily
from headstock_vision.timm import TimmLayout
from headstock_vision.timm.efficientnet import TimmEfficientNet

if TYPE_CHECKING:
    import torch

    from headstock_vision.backbone import ImageBackbone
    from headstock_vision.efficientnet.module import EfficientNetBackbone


class EfficientNetFamily(ImageFamily):
    """EfficientNets B0 to B7 from transformers checkpoints."""

    name: ClassVar[str] = "efficientnet"
    model_type: ClassVar[str] = "efficientnet"
    timm_architecture: ClassVar[str] = r"(tf_)?efficientnet(v2)?_\w+"
    timm: ClassVar[TimmLayout | None] = TimmEfficientNet()
    processor: ClassVar[str] = "EfficientNet"
    # transformers' defaults, which are B7's.
    published: ClassVar[Mapping[str, Any]] = {
        "num_channels": 3,
        "width_coefficient": 2.0,
        "depth_coefficient": 3.1,
        "depth_divisor": 8,
        "kernel_sizes": [3, 3, 5, 3, 5, 5, 3],
        "in_channels": [32, 16, 24, 40, 80, 112, 192],
        "out_channels": [16, 24, 40, 80, 112, 192, 320],
        "depthwise_padding": [],
        "strides": [1, 2, 2, 2, 1, 2, 1],
        "num_block_repeats": [1, 2, 2, 3, 3, 4, 1],
        "expand_ratios": [1, 6, 6, 6, 6, 6, 6],
        "squeeze_expansion_ratio": 0.25,
        "hidden_act": "swish",
        "hidden_dim": 2560,
        "pooling_type": "mean",
        "batch_norm_eps": 0.001,
    }

    def build(self, files: SourceFiles, architecture: Mapping[str, Any], options: ImageOptions) -> ImageBackbone:
        """The network without its classifier."""
        from headstock_vision.efficientnet.module import load_efficientnet

        return load_efficientnet(self.weights(files), architecture, options.output, files.spec)

    def layer_groups(self, module: torch.nn.Module) -> Sequence[LayerGroup]:
        """`stem`, `stage.0` and up (blocks of one width), `top` (the last convolution)."""
        encoder = "efficientnet.encoder."
        stages = [
            LayerGroup(f"stage.{i}", tuple(f"{encoder}blocks.{block}." for block in blocks))
            for i, blocks in enumerate(cast("EfficientNetBackbone", module).stages)
        ]
        stem = LayerGroup("stem", ("efficientnet.embeddings.",))
        return (stem, *stages, LayerGroup("top", (f"{encoder}top_conv.", f"{encoder}top_bn.")))
