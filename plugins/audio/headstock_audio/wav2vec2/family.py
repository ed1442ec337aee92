"""The Wav2Vec 2.0 family: which checkpoints it reads, and what they turn into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from headstock.checkpoint import check_config, read_json, weights_file
from headstock.errors import InvalidInput, Unsupported
from headstock.hookspecs import BackboneFamily, LayerGroup, SourceFiles
from headstock.records import PaddingRule, Tap, TensorSpec

if TYPE_CHECKING:
    import torch

    from headstock.preprocess import PreprocessSpec
    from headstock_audio.wav2vec2.module import Wav2Vec2Backbone

MAX_SECONDS = 60
"""Longest recording: attention grows with the square of it."""

# What a config.json that leaves a key out means, as transformers defines it.
_PUBLISHED: dict[str, Any] = {
    "conv_bias": False,
    "conv_dim": [512, 512, 512, 512, 512, 512, 512],
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "do_stable_layer_norm": False,
    "feat_extract_activation": "gelu",
    "feat_extract_norm": "group",
    "hidden_act": "gelu",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-5,
    "num_attention_heads": 12,
    "num_conv_pos_embedding_groups": 16,
    "num_conv_pos_embeddings": 128,
    "num_hidden_layers": 12,
}


class Wav2Vec2Family(BackboneFamily):
    """Encoders with Wav2Vec 2.0's architecture, from transformers checkpoints."""

    name: ClassVar[str] = "wav2vec2"
    modality: ClassVar[str] = "audio"
    padding: ClassVar[PaddingRule] = "mask"

    def recognises(self, files: SourceFiles) -> bool:
        """True for `model_type` wav2vec2."""
        return files.config.get("model_type") == "wav2vec2"

    def load(self, files: SourceFiles) -> torch.nn.Module:
        """The encoder without quantiser and task head."""
        from headstock_audio.wav2vec2.module import load_wav2vec2

        return load_wav2vec2(weights_file(files.root, files.spec), self.architecture(files), files.spec)

    def architecture(self, files: SourceFiles) -> Mapping[str, Any]:
        """Sizes, norms and activations; dropout and masking are left out, for a backbone is used in eval mode."""
        config = files.config
        check_config(config)
        # Both add layers behind or inside the encoder that this network does not have.
        for key in ("add_adapter", "adapter_attn_dim"):
            if config.get(key):
                raise Unsupported(
                    f"{files.spec!r} has {key} = {config[key]!r}; family 'wav2vec2' reads encoders without"
                )
        architecture = {k: _typed(k, config.get(k, default), default) for k, default in _PUBLISHED.items()}
        layers = {k: len(architecture[k]) for k in ("conv_dim", "conv_kernel", "conv_stride")}
        if len(set(layers.values())) != 1 or not layers["conv_dim"]:
            raise InvalidInput(
                f"config.json of {files.spec!r} has convolutions {layers}; expected equal numbers of each"
            )
        if architecture["feat_extract_norm"] not in ("group", "layer"):
            raise InvalidInput(
                f"config.json of {files.spec!r} has feat_extract_norm {architecture['feat_extract_norm']!r}; "
                "expected 'group' or 'layer'"
            )
        return architecture

    def taps(self, module: torch.nn.Module) -> Sequence[Tap]:
        """`frames` [n, t, d] (one per 20 ms, zeros behind a row's end), `mean` [n, d] (over real frames)."""
        backbone = cast("Wav2Vec2Backbone", module)
        steps = tuple(zip(backbone.kernels, backbone.strides, strict=True))
        return (Tap("frames", (-1, -1, backbone.width), steps), Tap("mean", (-1, backbone.width)))

    def inputs(self, module: torch.nn.Module) -> Sequence[TensorSpec]:
        """Samples FP32 and mask INT64, both [n, samples]."""
        return (TensorSpec("input_values", "FP32", (-1, -1)), TensorSpec("attention_mask", "INT64", (-1, -1)))

    def preprocess(self, files: SourceFiles) -> PreprocessSpec:
        """Samples at the checkpoint's rate, normalised where it was trained so."""
        from headstock.preprocess import PreprocessSpec
        from headstock.preprocess.audio import RESAMPLING

        settings = read_json(files.root / "preprocessor_config.json")
        architecture = self.architecture(files)
        options = {
            "sampling_rate": settings.get("sampling_rate", 16_000),
            "normalise": settings.get("do_normalize", True),
            "min_samples": receptive_field(architecture["conv_kernel"], architecture["conv_stride"]),
            "max_seconds": MAX_SECONDS,
            "resampling": RESAMPLING,
        }
        return PreprocessSpec("waveform", options, {})

    def files(self, files: SourceFiles) -> Mapping[str, Path]:
        """Weights, configuration and, of a checkpoint that transcribes, what its outputs mean."""
        found = {"weights": weights_file(files.root, files.spec), "config": files.root / "config.json"}
        vocabulary = files.root / "vocab.json"
        return {**found, "vocabulary": vocabulary} if vocabulary.is_file() else found

    def layer_groups(self, module: torch.nn.Module) -> Sequence[LayerGroup]:
        """`conv` (the waveform's encoder), `projection`, `layer.0` and up; `norm` last where norms come first."""
        backbone = cast("Wav2Vec2Backbone", module)
        encoder = "wav2vec2.encoder."
        layers = [LayerGroup(f"layer.{i}", (f"{encoder}layers.{i}.",)) for i in range(backbone.layers)]
        start = ["wav2vec2.feature_projection.", f"{encoder}pos_conv_embed."]
        ends: list[LayerGroup] = []
        if backbone.pre_norm:
            ends.append(LayerGroup("norm", (f"{encoder}layer_norm.",)))
        else:
            start.append(f"{encoder}layer_norm.")
        return (
            LayerGroup("conv", ("wav2vec2.feature_extractor.",)),
            LayerGroup("projection", tuple(start)),
            *layers,
            *ends,
        )


def receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Samples that one frame is made of."""
    samples = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


def _typed(key: str, value: Any, default: Any) -> Any:
    if isinstance(default, list):
        if not isinstance(value, list) or not all(isinstance(v, int) and v > 0 for v in value):
            raise InvalidInput(f"config.json has {key} = {value!r}; expected a list of positive whole numbers")
        return list(value)
    return type(default)(value)
