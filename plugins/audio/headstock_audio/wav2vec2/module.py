"""The Wav2Vec 2.0 network with named taps and a group norm that padding does not reach, filled strictly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from headstock.checkpoint import load_strict, read_weights
from headstock_audio.stable import frame_mask, masked_mean, stable_conv, stable_sum

_OTHER_PARTS = (
    "quantizer.",
    "project_q.",
    "project_hid.",
    "lm_head.",
    "classifier.",
    "projector.",
    "masked_spec_embed",
)
# Old and new names of the position convolution's weight norm.
_WEIGHT_NORM = {
    "weight_g": "parametrizations.weight.original0",
    "weight_v": "parametrizations.weight.original1",
}


class Wav2Vec2Backbone(torch.nn.Module):
    """A Wav2Vec 2.0 encoder; `forward` returns its taps by name.

    The base models normalise their first convolution over time, padding included, which changes every frame of a
    shorter row. Here the statistics are taken over a row's own samples: for a row alone that is the same function.
    """

    def __init__(self, architecture: Mapping[str, Any]) -> None:
        super().__init__()
        from transformers import Wav2Vec2Config, Wav2Vec2Model

        options: dict[str, Any] = {
            **architecture,
            "num_feat_extract_layers": len(architecture["conv_dim"]),
            "layerdrop": 0.0,
            "mask_time_prob": 0.0,
            "mask_feature_prob": 0.0,
            "attn_implementation": "sdpa",
        }
        self.wav2vec2: Any = Wav2Vec2Model(Wav2Vec2Config(**options))
        encoder: Any = self.wav2vec2.encoder
        encoder.pos_conv_embed = Positions(encoder.pos_conv_embed)
        if architecture["do_stable_layer_norm"]:
            # Registered anew behind the layers, where it is applied: parameters are listed from input to output.
            norm = encoder.layer_norm
            del encoder.layer_norm
            encoder.layer_norm = norm
        self.kernels: tuple[int, ...] = tuple(architecture["conv_kernel"])
        self.strides: tuple[int, ...] = tuple(architecture["conv_stride"])
        self.group_norm: bool = architecture["feat_extract_norm"] == "group"
        self.pre_norm: bool = architecture["do_stable_layer_norm"]
        self.width: int = architecture["hidden_size"]
        self.layers: int = architecture["num_hidden_layers"]

    def forward(self, input_values: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """Taps of FP32 and INT64 [n, samples]: `frames` [n, t, d], `mean` [n, d], FP32."""
        lengths = attention_mask.sum(dim=1)
        # Not a product: NaN times 0 would still be NaN.
        hidden = torch.where(attention_mask.bool(), input_values, torch.zeros_like(input_values))[:, None]
        layers = self.wav2vec2.feature_extractor.conv_layers
        for i, layer in enumerate(layers):
            lengths = torch.div(lengths - self.kernels[i], self.strides[i], rounding_mode="floor") + 1
            hidden = stable_conv(layer.conv, hidden)
            if not self.group_norm:
                hidden = layer.layer_norm(hidden.transpose(1, 2)).transpose(1, 2)
            elif i == 0:
                hidden = masked_group_norm(hidden, frame_mask(lengths, hidden, 2), layer.layer_norm)
            hidden = layer.activation(hidden)
        mask = frame_mask(lengths, hidden, 2)
        hidden, _ = self.wav2vec2.feature_projection(hidden.transpose(1, 2))
        frames = self.wav2vec2.encoder(hidden, attention_mask=mask).last_hidden_state
        frames = torch.where(mask[:, :, None], frames, torch.zeros_like(frames))
        return {"frames": frames, "mean": masked_mean(frames, mask)}


class Positions(torch.nn.Module):
    """The convolution that tells frames where they are; like the original's, but stable under padding."""

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.conv: torch.nn.Conv1d = original.conv
        self.activation: Any = original.activation

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """What is added to frames [n, t, d]."""
        # An even kernel makes one step too many, which the original drops too.
        positions = stable_conv(self.conv, hidden.transpose(1, 2))[:, :, : hidden.shape[1]]
        added: torch.Tensor = self.activation(positions).transpose(1, 2)
        return added


def masked_group_norm(hidden: torch.Tensor, mask: torch.Tensor, norm: torch.nn.GroupNorm) -> torch.Tensor:
    """`norm`, one group per channel, over the steps of [n, c, t] where `mask` [n, t] is True; zeros elsewhere."""
    inside = mask[:, None]
    zeros = torch.zeros_like(hidden)
    count = inside.sum(dim=2).clamp(min=1).to(hidden.dtype)
    mean = stable_sum(torch.where(inside, hidden, zeros)) / count
    centred = torch.where(inside, hidden - mean[:, :, None], zeros)
    scale = norm.weight / torch.sqrt(stable_sum(centred * centred) / count + norm.eps)
    return torch.where(inside, centred * scale[:, :, None] + norm.bias[None, :, None], zeros)


def load_wav2vec2(weights: Path, architecture: Mapping[str, Any], what: str) -> Wav2Vec2Backbone:
    """An encoder in eval mode, FP32, on the CPU; raises `InvalidInput` unless every weight fits."""
    tensors = read_weights(weights)
    # A checkpoint with a pretraining or task head keeps the encoder under `wav2vec2.`; all else in it is that head.
    prefix = "wav2vec2." if any(name.startswith("wav2vec2.") for name in tensors) else ""

    def rename(name: str) -> str | None:
        if not name.startswith(prefix):
            return None
        name = name.removeprefix(prefix)
        if name.startswith(_OTHER_PARTS):
            return None
        head, _, last = name.rpartition(".")
        return f"wav2vec2.{head}.{_WEIGHT_NORM.get(last, last)}" if head else f"wav2vec2.{name}"

    backbone = Wav2Vec2Backbone(architecture)
    load_strict(backbone, tensors, rename=rename, what=repr(what))
    return backbone.eval()
