"""What every image family has in common: fixed-size pixels in, channels-last taps out."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from headstock.checkpoint import read_weights, weights_file
from headstock.errors import Unsupported
from headstock.hookspecs import BackboneFamily, SourceFiles
from headstock.preprocess.image_options import ImageOptions
from headstock.records import PaddingRule, Tap, TensorSpec
from headstock_vision.processor import PROCESSOR, timm_preprocess, transformers_preprocess
from headstock_vision.settings import canonical
from headstock_vision.timm import TimmLayout

if TYPE_CHECKING:
    import torch

    from headstock.preprocess import PreprocessSpec
    from headstock_vision.backbone import ImageBackbone


class ImageFamily(BackboneFamily):
    """A family of transformers checkpoints with an image processor, and of timm's of the same function.

    Rows are images of one size per backbone, so that any of them may share a batch.
    """

    modality: ClassVar[str] = "image"
    padding: ClassVar[PaddingRule] = "equal-length"
    model_type: ClassVar[str]
    """`model_type` of config.json."""
    timm_architecture: ClassVar[str]
    """Pattern of the names that timm gives to this architecture and to variants of it."""
    timm: ClassVar[TimmLayout | None] = None
    """How timm's checkpoints of it are read, where there are others."""
    processor: ClassVar[str]
    """Image processor that a preprocessor_config.json without a type means."""
    published: ClassVar[Mapping[str, Any]]
    """What a config.json that leaves a key out means, for every key that changes the function."""

    def recognises(self, files: SourceFiles) -> bool:
        """True for this `model_type` and for timm's names of the architecture; `architecture` refuses variants."""
        return files.config.get("model_type") == self.model_type or self._is_timm(files)

    def load(self, files: SourceFiles) -> torch.nn.Module:
        """The network without its classifier, in eval mode."""
        return self.build(files, self.architecture(files), ImageOptions.parse(self.preprocess(files).options))

    @abstractmethod
    def build(self, files: SourceFiles, architecture: Mapping[str, Any], options: ImageOptions) -> ImageBackbone:
        """The network in eval mode, filled strictly from the source's weights."""

    def architecture(self, files: SourceFiles) -> Mapping[str, Any]:
        """Sizes, activation and epsilon; dropout is left out, for a backbone is used in eval mode."""
        if self._is_timm(files):
            if self.timm is None:
                raise Unsupported(
                    f"{files.spec!r} is a timm checkpoint; family {self.name!r} reads transformers checkpoints",
                    fix=f"headstock families --presets, and take a {self.name} preset that is not timm's",
                )
            return self.timm.architecture(files)
        return canonical(files, self.published)

    def taps(self, module: torch.nn.Module) -> Sequence[Tap]:
        """`pooled` [n, d], `feature_map` [n, h, w, d] and what else the family has; channels last."""
        return tuple(Tap(name, (-1, *shape)) for name, shape in cast("ImageBackbone", module).tap_shapes.items())

    def inputs(self, module: torch.nn.Module) -> Sequence[TensorSpec]:
        """`pixel_values` FP32 [n, channels, height, width]."""
        return (TensorSpec("pixel_values", "FP32", (-1, *cast("ImageBackbone", module).image_shape)),)

    def preprocess(self, files: SourceFiles) -> PreprocessSpec:
        """Resize, crop and normalise as the checkpoint's image processor does, or timm's `pretrained_cfg` says."""
        if self._is_timm(files):
            return timm_preprocess(files)
        channels = self.architecture(files)["num_channels"]
        return transformers_preprocess(files, channels=channels, assumed=self.processor)

    def files(self, files: SourceFiles) -> Mapping[str, Path]:
        """Weights, configuration and, but for timm's, image processor."""
        found = {"weights": weights_file(files.root, files.spec), "config": files.root / "config.json"}
        return found if self._is_timm(files) else {**found, "processor": files.root / PROCESSOR}

    def weights(self, files: SourceFiles) -> dict[str, torch.Tensor]:
        """The source's tensors under transformers' names."""
        tensors = read_weights(weights_file(files.root, files.spec))
        return self.timm.renamed(tensors) if self.timm is not None and self._is_timm(files) else tensors

    def _is_timm(self, files: SourceFiles) -> bool:
        architecture = files.config.get("architecture")
        return (
            "model_type" not in files.config
            and isinstance(architecture, str)
            and re.fullmatch(self.timm_architecture, architecture) is not None
        )
