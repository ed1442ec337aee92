"""The ResNet network with named taps, filled strictly from weights by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from headstock_vision.backbone import ImageBackbone, Taps, channels_last, constructed, fill


class ResNetBackbone(ImageBackbone):
    """A residual network; `forward` returns its taps by name."""

    def __init__(self, architecture: Mapping[str, Any], size: tuple[int, int]) -> None:
        super().__init__((architecture["num_channels"], *size))
        from transformers import ResNetConfig, ResNetModel

        self.resnet = ResNetModel(ResNetConfig(**architecture))
        self.stages = len(architecture["depths"])

    def forward(self, pixel_values: torch.Tensor) -> Taps:
        """Taps of FP32 [n, c, h, w]: `pooled` [n, d], `feature_map` [n, h/32, w/32, d], FP32."""
        result = self.resnet(pixel_values=pixel_values)
        return {
            "pooled": result.pooler_output.flatten(1),
            "feature_map": channels_last(result.last_hidden_state),
        }


def load_resnet(
    weights: Mapping[str, torch.Tensor], architecture: Mapping[str, Any], size: tuple[int, int], what: str
) -> ResNetBackbone:
    """A ResNet for images of `size` (height, width); raises `InvalidInput` unless every weight fits."""
    backbone = constructed(ResNetBackbone, architecture, size, what)
    fill(backbone, weights, what, prefix="resnet.", rename=lambda name: f"resnet.{name}")
    return backbone
