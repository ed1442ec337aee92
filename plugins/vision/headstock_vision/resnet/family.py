"""The ResNet family: which checkpoints it reads, and what they turn into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from headstock.hookspecs import LayerGroup, SourceFiles
from headstock.preprocess.image_options import ImageOptions
from headstock_vision.family import ImageFamily
from headstock_vision.timm import TimmLayout
from headstock_vision.timm.resnet import TimmResNet

if TYPE_CHECKING:
    import torch

    from headstock_vision.backbone import ImageBackbone
    from headstock_vision.resnet.module import ResNetBackbone


class ResNetFamily(ImageFamily):
    """Residual networks from transformers checkpoints."""

    name: ClassVar[str] = "resnet"
    model_type: ClassVar[str] = "resnet"
    timm_architecture: ClassVar[str] = r"(wide_)?resnet\d+\w*"
    timm: ClassVar[TimmLayout | None] = TimmResNet()
    processor: ClassVar[str] = "ConvNext"
    published: ClassVar[Mapping[str, Any]] = {
        "num_channels": 3,
        "embedding_size": 64,
        "hidden_sizes": [256, 512, 1024, 2048],
        "depths": [3, 4, 6, 3],
        "layer_type": "bottleneck",
        "hidden_act": "relu",
        "downsample_in_first_stage": False,
        "downsample_in_bottleneck": False,
    }

    def build(self, files: SourceFiles, architecture: Mapping[str, Any], options: ImageOptions) -> ImageBackbone:
        """The network without its classifier."""
        from headstock_vision.resnet.module import load_resnet

        return load_resnet(self.weights(files), architecture, options.output, files.spec)

    def layer_groups(self, module: torch.nn.Module) -> Sequence[LayerGroup]:
        """`stem`, then `stage.0` and up."""
        stages = [
            LayerGroup(f"stage.{i}", (f"resnet.encoder.stages.{i}.",))
            for i in range(cast("ResNetBackbone", module).stages)
        ]
        return (LayerGroup("stem", ("resnet.embedder.",)), *stages)
