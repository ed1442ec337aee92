"""timm's ResNets: stride in the 3 x 3 convolution, one 7 x 7 convolution as stem (He et al. 2015, version 1.5)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from headstock_vision.timm.layout import TimmLayout, numbered

if TYPE_CHECKING:
    import torch

_DEPTHS = {"18": [2, 2, 2, 2], "34": [3, 4, 6, 3], "50": [3, 4, 6, 3], "101": [3, 4, 23, 3], "152": [3, 8, 36, 3]}
_BASIC = ("18", "34")
_CHANNELS = [64, 128, 256, 512]
_STEM = 64


class TimmResNet(TimmLayout):
    """`resnet18` to `resnet152`."""

    pattern: ClassVar[str] = r"resnet(18|34|50|101|152)"
    known: ClassVar[str] = "resnet18, resnet34, resnet50, resnet101 and resnet152"
    arguments: ClassVar[tuple[str, ...]] = ("layers", "channels")

    def sizes(self, match: re.Match[str], arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Depths and widths of the four stages."""
        basic = match[1] in _BASIC
        channels = [int(n) for n in arguments.get("channels", _CHANNELS)]
        return {
            "embedding_size": _STEM,
            "hidden_sizes": channels if basic else [4 * n for n in channels],
            "depths": [int(n) for n in arguments.get("layers", _DEPTHS[match[1]])],
            "layer_type": "basic" if basic else "bottleneck",
            "hidden_act": "relu",
            "downsample_in_first_stage": False,
            "downsample_in_bottleneck": False,
        }

    def renamed(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Stem, stages and shortcuts."""
        return {_name(name): tensor for name, tensor in tensors.items() if not name.startswith("fc.")}


_STEM_NAMES = {"conv1": "convolution", "bn1": "normalization"}


def _name(name: str) -> str:
    stem, _, part = name.partition(".")
    if stem in _STEM_NAMES:
        return f"embedder.embedder.{_STEM_NAMES[stem]}.{part}"
    shortcut = numbered(
        name,
        (
            (r"layer(\d)\.(\d+)\.downsample\.0\.(\w+)", r"encoder.stages.\1.layers.\2.shortcut.convolution.\3"),
            (r"layer(\d)\.(\d+)\.downsample\.1\.(\w+)", r"encoder.stages.\1.layers.\2.shortcut.normalization.\3"),
        ),
    )
    if shortcut != name:
        return _from_zero(shortcut)
    match = re.fullmatch(r"layer(\d)\.(\d+)\.(conv|bn)(\d)\.(\w+)", name)
    if match is None:
        return name
    stage, layer, kind, number, part = match.groups()
    what = "convolution" if kind == "conv" else "normalization"
    return f"encoder.stages.{int(stage) - 1}.layers.{layer}.layer.{int(number) - 1}.{what}.{part}"


def _from_zero(name: str) -> str:
    """timm counts stages from 1."""
    return re.sub(r"^(encoder\.stages\.)(\d)", lambda m: f"{m[1]}{int(m[2]) - 1}", name)
