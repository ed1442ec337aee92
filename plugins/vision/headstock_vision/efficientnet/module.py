"""The EfficientNet network with named taps, filled strictly from weights by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from headstock.errors import InvalidInput
from headstock_vision.backbone import ImageBackbone, Taps, channels_last, constructed, fill


class EfficientNetBackbone(ImageBackbone):
    """An EfficientNet; `forward` returns its taps by name."""

    stages: list[range]
    """Blocks of each stage, by index."""

    def __init__(self, architecture: Mapping[str, Any], size: tuple[int, int]) -> None:
        super().__init__((architecture["num_channels"], *size))
        from transformers import EfficientNetConfig, EfficientNetModel

        settings = {key: value for key, value in architecture.items() if key != "symmetric_padding"}
        self.efficientnet = EfficientNetModel(EfficientNetConfig(**settings))
        if architecture.get("symmetric_padding"):
            _pad_both_sides(self.efficientnet)
        width, promised = self.efficientnet.encoder.top_conv.out_channels, architecture["hidden_dim"]
        if width != promised:
            raise InvalidInput(f"config.json has hidden_dim {promised} but its width_coefficient makes it {width}")
        self.maximum = architecture["pooling_type"] == "max"
        repeats = [math.ceil(architecture["depth_coefficient"] * n) for n in architecture["num_block_repeats"]]
        starts = [sum(repeats[:i]) for i in range(len(repeats))]
        self.stages = [range(start, start + count) for start, count in zip(starts, repeats, strict=True)]

    def forward(self, pixel_values: torch.Tensor) -> Taps:
        """Taps of FP32 [n, c, h, w]: `pooled` [n, d], `feature_map` [n, h/32, w/32, d], FP32."""
        hidden = self.efficientnet(pixel_values=pixel_values).last_hidden_state
        # The checkpoint's own pooler is a window of `hidden_dim` pixels, larger than any feature map: a plain mean
        # over what is there, which runtimes disagree on when asked for it that way.
        pooled = hidden.amax(dim=(2, 3)) if self.maximum else hidden.mean(dim=(2, 3))
        return {"pooled": pooled, "feature_map": channels_last(hidden)}


def _pad_both_sides(network: torch.nn.Module) -> None:
    """Pad strided convolutions by half the kernel on each side; TensorFlow pads the far side more."""
    convolutions = {"padding": "convolution", "depthwise_conv_pad": "depthwise_conv"}
    for module in network.modules():
        for pad, convolution in convolutions.items():
            if isinstance(getattr(module, pad, None), torch.nn.ZeroPad2d):
                half = getattr(module, convolution).kernel_size[0] // 2
                setattr(module, pad, torch.nn.ZeroPad2d(half))


def load_efficientnet(
    weights: Mapping[str, torch.Tensor], architecture: Mapping[str, Any], size: tuple[int, int], what: str
) -> EfficientNetBackbone:
    """An EfficientNet for images of `size` (height, width); raises `InvalidInput` unless every weight fits."""
    backbone = constructed(EfficientNetBackbone, architecture, size, what)
    fill(backbone, weights, what, prefix="efficientnet.", rename=lambda name: f"efficientnet.{name}")
    return backbone
