"""The VGG network with named taps, filled strictly from a safetensors file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from headstock.checkpoint import read_weights
from headstock.errors import Unsupported
from headstock_vision.backbone import ImageBackbone, Taps, channels_last, constructed, fill

_WINDOW = 7
"""Edge of the feature map that the first fully connected layer looks at."""


class VggBackbone(ImageBackbone):
    """A VGG with timm's module names; `forward` returns its taps by name."""

    stages: list[list[int]]
    """Layers with weights of each stage, as indices into `features`."""

    def __init__(self, architecture: Mapping[str, Any], size: tuple[int, int]) -> None:
        super().__init__((architecture["num_channels"], *size))
        plan: Sequence[int] = architecture["plan"]
        layers: list[nn.Module] = []
        self.stages = [[]]
        width = architecture["num_channels"]
        for step in plan:
            if step == 0:
                layers.append(nn.MaxPool2d(2))
                self.stages.append([])
                continue
            block: list[nn.Module] = [nn.Conv2d(width, step, 3, padding=1)]
            if architecture["batch_norm"]:
                block.append(nn.BatchNorm2d(step))
            self.stages[-1] += range(len(layers), len(layers) + len(block))
            layers += [*block, nn.ReLU()]
            width = step
        self.stages = [stage for stage in self.stages if stage]
        self.features = nn.Sequential(*layers)
        # Fully connected layers as convolutions, so that a larger picture gives a map of answers to average.
        hidden = architecture["fc_width"]
        fc1, fc2 = nn.Conv2d(width, hidden, _WINDOW), nn.Conv2d(hidden, hidden, 1)
        self.pre_logits = nn.ModuleDict({"fc1": fc1, "fc2": fc2})

    def forward(self, pixel_values: torch.Tensor) -> Taps:
        """Taps of FP32 [n, c, h, w]: `pooled` [n, d] and `feature_map` [n, h/32, w/32, d] of the convolutions, and
        `fc7` [n, 4096], the input of the original classifier, FP32.
        """
        features = self.features(pixel_values)
        hidden = torch.relu(self.pre_logits["fc1"](features))
        hidden = torch.relu(self.pre_logits["fc2"](hidden))
        return {
            "pooled": features.mean(dim=(2, 3)),
            "feature_map": channels_last(features),
            "fc7": hidden.mean(dim=(2, 3)),
        }


def load_vgg(weights: Path, architecture: Mapping[str, Any], size: tuple[int, int], what: str) -> VggBackbone:
    """A VGG for images of `size` (height, width); raises `InvalidInput` unless every weight fits."""
    edge = min(size) >> list(architecture["plan"]).count(0)
    if edge < _WINDOW:
        raise Unsupported(
            f"{what!r} leaves {edge} x {edge} positions of a picture of {size[0]} x {size[1]} pixels; "
            f"its fully connected layers need {_WINDOW} x {_WINDOW}"
        )
    backbone = constructed(VggBackbone, architecture, size, what)
    fill(
        backbone, read_weights(weights), what, prefix="", rename=lambda name: None if name.startswith("head.") else name
    )
    return backbone
