"""The VGG family: which checkpoints it reads, and what they turn into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from headstock.checkpoint import check_config, weights_file
from headstock.errors import InvalidInput
from headstock.hookspecs import LayerGroup, SourceFiles
from headstock.preprocess.image_options import ImageOptions
from headstock_vision.family import ImageFamily
from headstock_vision.processor import timm_preprocess

if TYPE_CHECKING:
    import torch

    from headstock.preprocess import PreprocessSpec
    from headstock_vision.backbone import ImageBackbone
    from headstock_vision.vgg.module import VggBackbone

# Output channels of each convolution; 0 halves the picture.
_PLANS = {
    "vgg11": [64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0],
    "vgg13": [64, 64, 0, 128, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0],
    "vgg16": [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0],
    "vgg19": [64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512, 0],
}
_FC_WIDTH = 4096


class VggFamily(ImageFamily):
    """VGG networks from timm's checkpoints: config.json with `architecture` and `pretrained_cfg`.

    `model_args` may hold `cfg` (output channels per convolution, "M" for pooling) and `head_hidden_size` for
    networks of other sizes.
    """

    name: ClassVar[str] = "vgg"
    timm_architecture: ClassVar[str] = r"vgg(11|13|16|19)(_bn)?"

    def recognises(self, files: SourceFiles) -> bool:
        """True for a timm configuration that names a VGG."""
        return self._is_timm(files)

    def build(self, files: SourceFiles, architecture: Mapping[str, Any], options: ImageOptions) -> ImageBackbone:
        """The network without its classifier."""
        from headstock_vision.vgg.module import load_vgg

        return load_vgg(weights_file(files.root, files.spec), architecture, options.output, files.spec)

    def architecture(self, files: SourceFiles) -> Mapping[str, Any]:
        """`plan` (channels per convolution, 0 for pooling), `batch_norm`, `fc_width`, `num_channels`."""
        check_config(files.config)
        name, _, suffix = str(files.config["architecture"]).partition("_")
        arguments = files.config.get("model_args") or {}
        plan = [0 if step == "M" else step for step in arguments.get("cfg", _PLANS[name])]
        fc_width = arguments.get("head_hidden_size", _FC_WIDTH)
        wrong = [n for n in (*plan, fc_width) if type(n) is not int or n < 0]
        if wrong or not any(plan) or fc_width < 1:
            raise InvalidInput(
                f"config.json of {files.spec!r} has model_args {arguments!r}; expected positive channel counts"
            )
        return {
            "plan": plan,
            "batch_norm": suffix == "bn",
            "fc_width": fc_width,
            "num_channels": ImageOptions.parse(self.preprocess(files).options).channels,
        }

    def preprocess(self, files: SourceFiles) -> PreprocessSpec:
        """Resize, crop and normalise as `pretrained_cfg` says."""
        return timm_preprocess(files)

    def files(self, files: SourceFiles) -> Mapping[str, Path]:
        """Weights and configuration."""
        return {"weights": weights_file(files.root, files.spec), "config": files.root / "config.json"}

    def layer_groups(self, module: torch.nn.Module) -> Sequence[LayerGroup]:
        """`stage.0` and up (convolutions between two poolings), `fc`."""
        stages = [
            LayerGroup(f"stage.{i}", tuple(f"features.{layer}." for layer in layers))
            for i, layers in enumerate(cast("VggBackbone", module).stages)
        ]
        return (*stages, LayerGroup("fc", ("pre_logits.",)))
