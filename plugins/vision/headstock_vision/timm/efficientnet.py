"""timm's EfficientNets B0 to B7: TensorFlow's padding and epsilon under `tf_`, PyTorch's without (Tan and Le 2019)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from headstock_vision.timm.layout import TimmLayout

if TYPE_CHECKING:
    import torch

# Width and depth coefficients.
_SCALES = {
    "0": (1.0, 1.0),
    "1": (1.0, 1.1),
    "2": (1.1, 1.2),
    "3": (1.2, 1.4),
    "4": (1.4, 1.8),
    "5": (1.6, 2.2),
    "6": (1.8, 2.6),
    "7": (2.0, 3.1),
}
_DIVISOR, _TOP = 8, 1280

# What follows a block's number: with expansion (inverted residual), and without (depthwise separable).
_EXPANDED = {
    "conv_pw": "expansion.expand_conv",
    "bn1": "expansion.expand_bn",
    "conv_dw": "depthwise_conv.depthwise_conv",
    "bn2": "depthwise_conv.depthwise_norm",
    "se.conv_reduce": "squeeze_excite.reduce",
    "se.conv_expand": "squeeze_excite.expand",
    "conv_pwl": "projection.project_conv",
    "bn3": "projection.project_bn",
}
_PLAIN = {
    "conv_dw": "depthwise_conv.depthwise_conv",
    "bn1": "depthwise_conv.depthwise_norm",
    "se.conv_reduce": "squeeze_excite.reduce",
    "se.conv_expand": "squeeze_excite.expand",
    "conv_pw": "projection.project_conv",
    "bn2": "projection.project_bn",
}
_ENDS = {
    "conv_stem": "embeddings.convolution",
    "bn1": "embeddings.batchnorm",
    "conv_head": "encoder.top_conv",
    "bn2": "encoder.top_bn",
}


class TimmEfficientNet(TimmLayout):
    """`efficientnet_b0` to `efficientnet_b7`, and the same with `tf_` before."""

    pattern: ClassVar[str] = r"(tf_)?efficientnet_b([0-7])"
    known: ClassVar[str] = "efficientnet_b0 to b7 and tf_efficientnet_b0 to b7"

    def sizes(self, match: re.Match[str], arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Scales of the one plan of blocks; `symmetric_padding` where strided convolutions are padded on both sides."""
        width, depth = _SCALES[match[2]]
        found = {
            "width_coefficient": width,
            "depth_coefficient": depth,
            "depth_divisor": _DIVISOR,
            "kernel_sizes": [3, 3, 5, 3, 5, 5, 3],
            "in_channels": [32, 16, 24, 40, 80, 112, 192],
            "out_channels": [16, 24, 40, 80, 112, 192, 320],
            "depthwise_padding": [],
            "strides": [1, 2, 2, 2, 1, 2, 1],
            "num_block_repeats": [1, 2, 2, 3, 3, 4, 1],
            "expand_ratios": [1, 6, 6, 6, 6, 6, 6],
            "squeeze_expansion_ratio": 0.25,
            "hidden_act": "swish",
            "hidden_dim": _rounded(_TOP * width),
            "pooling_type": "mean",
            "batch_norm_eps": 1e-3 if match[1] else 1e-5,
        }
        # Absent where it is not so, which keeps the digests of transformers' checkpoints.
        return found if match[1] else {**found, "symmetric_padding": True}

    def renamed(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Blocks counted through all stages."""
        blocks = {
            (int(m[1]), int(m[2])) for name in tensors if (m := re.match(r"blocks\.(\d+)\.(\d+)\.", name)) is not None
        }
        places = {block: number for number, block in enumerate(sorted(blocks))}
        expanded = {block for block in blocks if f"blocks.{block[0]}.{block[1]}.conv_pwl.weight" in tensors}
        found: dict[str, torch.Tensor] = {}
        for name, tensor in tensors.items():
            if name.startswith("classifier."):
                continue
            match = re.fullmatch(r"blocks\.(\d+)\.(\d+)\.((?:se\.)?\w+)\.(\w+)", name)
            if match is None:
                stem, _, part = name.partition(".")
                found[f"{_ENDS[stem]}.{part}" if stem in _ENDS else name] = tensor
                continue
            block = int(match[1]), int(match[2])
            names = _EXPANDED if block in expanded else _PLAIN
            found[f"encoder.blocks.{places[block]}.{names.get(match[3], match[3])}.{match[4]}"] = tensor
        return found


def _rounded(channels: float) -> int:
    """To the next multiple of the divisor, never more than a tenth below."""
    rounded = max(_DIVISOR, int(channels + _DIVISOR / 2) // _DIVISOR * _DIVISOR)
    return rounded + _DIVISOR if rounded < 0.9 * channels else rounded
