"""The family of CLIP's vision towers: which checkpoints it reads, and what they turn into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from headstock.checkpoint import check_config, weights_file
from headstock.digest import Digest
from headstock.errors import InvalidInput
from headstock.hookspecs import LayerGroup, SourceFiles
from headstock.preprocess.image_options import ImageOptions
from headstock_multimodal.space import embedding_space, own_space, tower_settings
from headstock_vision.family import ImageFamily

if TYPE_CHECKING:
    import torch

    from headstock_multimodal.clip_vision.module import ClipVisionBackbone
    from headstock_vision.backbone import ImageBackbone


class ClipVisionFamily(ImageFamily):
    """Vision towers of CLIP, from transformers checkpoints of the whole model or of the tower.

    Taps: `tokens` (the class token, then patches row by row, before the last norm), `pooled` (the class token after
    it) and `embedding` (projected, of length 1, in the space of the text tower from the same checkpoint).
    """

    name: ClassVar[str] = "clip-vision"
    model_type: ClassVar[str] = "clip"
    timm_architecture: ClassVar[str] = r"vit_\w+_patch\d+_clip_\w+"
    processor: ClassVar[str] = "CLIP"
    published: ClassVar[Mapping[str, Any]] = {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "image_size": 224,
        "patch_size": 32,
        "num_channels": 3,
        "projection_dim": 512,
    }

    def recognises(self, files: SourceFiles) -> bool:
        """True for the whole model, the tower, and timm's checkpoints, which `architecture` refuses."""
        return files.config.get("model_type") == "clip_vision_model" or super().recognises(files)

    def architecture(self, files: SourceFiles) -> Mapping[str, Any]:
        """Sizes and activation of the tower, and the embedding space."""
        check_config(files.config)
        stated = {key: value for key, value in tower_settings(files, "vision").items() if value is not None}
        # timm's configurations have no part for the tower: the family above refuses them by what the whole one says.
        config = stated if files.config.get("model_type") else files.config
        tower = SourceFiles(files.root, config, files.spec)
        return {**super().architecture(tower), "space": embedding_space(files)}

    def retrained(self, architecture: Mapping[str, Any], weights: Digest) -> Mapping[str, Any]:
        """The same tower in a space of its own."""
        return own_space(architecture, weights)

    def build(self, files: SourceFiles, architecture: Mapping[str, Any], options: ImageOptions) -> ImageBackbone:
        """The tower with its projection."""
        from headstock_multimodal.clip_vision.module import load_clip_vision

        edge = architecture["image_size"]
        if options.output != (edge, edge):
            raise InvalidInput(
                f"{files.spec!r} has positions for {edge} x {edge} pixels but its image processor makes "
                f"{options.output[0]} x {options.output[1]}; expected the same"
            )
        return load_clip_vision(weights_file(files.root, files.spec), architecture, files.spec)

    def layer_groups(self, module: torch.nn.Module) -> Sequence[LayerGroup]:
        """`embeddings`, `layer.0` and up, `last` (norm and projection)."""
        tower = "clip.vision_model."
        layers = [
            LayerGroup(f"layer.{i}", (f"{tower}encoder.layers.{i}.",))
            for i in range(cast("ClipVisionBackbone", module).layers)
        ]
        return (
            LayerGroup("embeddings", (f"{tower}embeddings.", f"{tower}pre_layrnorm.")),
            *layers,
            LayerGroup("last", (f"{tower}post_layernorm.", "clip.visual_projection.")),
        )
