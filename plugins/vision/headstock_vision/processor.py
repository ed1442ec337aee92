"""What a checkpoint says about its input pictures, turned into the one preprocessing spec."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headstock.checkpoint import read_json
from headstock.errors import InvalidInput, Unsupported
from headstock.hookspecs import SourceFiles
from headstock.preprocess.image_options import MAX_PIXELS, ImageOptions

if TYPE_CHECKING:
    from headstock.preprocess import PreprocessSpec

PROCESSOR = "preprocessor_config.json"

# Numbers of pillow's filters, as image processors store them.
_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
_MODES = {3: "RGB", 1: "L"}
_HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
_CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
_CROPPING = {"do_center_crop": True, "crop_size": 224}
# What each image processor does where its file is silent; a size of one number means a square or the shortest edge.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "ViT": {"size": 224, "square": True, "resample": 2, **_HALF},
    "DeiT": {"size": 256, "square": True, "resample": 3, **_HALF, **_CROPPING},
    "Bit": {"size": 224, "square": False, "resample": 3, **_CLIP, **_CROPPING},
    "CLIP": {"size": 224, "square": False, "resample": 3, **_CLIP, **_CROPPING},
    "ConvNext": {"size": 384, "square": False, "resample": 3, "crop_pct": 224 / 256, **_HALF},
    "EfficientNet": {
        "size": 346,
        "square": True,
        "resample": 3,
        "include_top": True,
        **_HALF,
        "crop_size": 289,
    },
}


def transformers_preprocess(files: SourceFiles, *, channels: int, assumed: str) -> PreprocessSpec:
    """The spec that a `preprocessor_config.json` describes; `assumed` is the processor where it names none.

    Raises `InvalidInput` if the file is missing or contradicts itself, `Unsupported` for an unknown processor.
    """
    stated = read_json(files.root / PROCESSOR)
    if not stated:
        raise InvalidInput(
            f"{files.spec!r} has no {PROCESSOR}: size, crop and normalisation of its input pictures are unknown",
            fix="save the image processor beside the weights: AutoImageProcessor...save_pretrained(DIR)",
        )
    name = _processor_name(stated, assumed)
    if name not in _DEFAULTS:
        raise Unsupported(f"{files.spec!r} has image processor {name!r}; expected one of {sorted(_DEFAULTS)}")
    settings = {"do_resize": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255}
    settings |= _DEFAULTS[name]
    settings |= {key: value for key, value in stated.items() if value is not None}
    if not settings["do_resize"] or settings.get("do_pad"):
        raise Unsupported(f"{files.spec!r} has an image processor that does not resize, or pads; expected a fixed size")
    size, crop = _crop_pct_geometry(settings) if name == "ConvNext" else _geometry(settings)
    mean, std = _normalisation(settings)
    return _spec(
        size=size,
        crop=crop,
        crop_rounding="down",
        interpolation=_interpolation(settings["resample"], files),
        mean=mean,
        std=std,
        rescale=settings["rescale_factor"] if settings["do_rescale"] else 1.0,
        mode=_mode(channels, files),
        max_pixels=MAX_PIXELS,
    )


def timm_preprocess(files: SourceFiles) -> PreprocessSpec:
    """The spec that `pretrained_cfg` of a timm config.json describes. Raises `InvalidInput` or `Unsupported`."""
    config = files.config.get("pretrained_cfg")
    if not isinstance(config, Mapping):
        raise InvalidInput(f"config.json of {files.spec!r} has no 'pretrained_cfg', which says how pictures are cut")
    needed = ("input_size", "crop_pct", "interpolation", "mean", "std")
    missing = [key for key in needed if key not in config]
    if missing:
        raise InvalidInput(f"pretrained_cfg of {files.spec!r} lacks {missing}")
    channels, height, width = config["input_size"]
    mode = config.get("crop_mode", "center")
    if height != width or mode not in ("center", "squash"):
        raise Unsupported(
            f"{files.spec!r} wants {height} x {width} pixels with crop_mode {mode!r}; "
            "expected a square and 'center' or 'squash'"
        )
    scaled = math.floor(height / config["crop_pct"])
    return _spec(
        size={"shortest_edge": scaled} if mode == "center" else {"height": scaled, "width": scaled},
        crop=[height, width],
        crop_rounding="half-even",
        interpolation=config["interpolation"],
        mean=list(config["mean"]),
        std=list(config["std"]),
        rescale=1 / 255,
        mode=_mode(channels, files),
        max_pixels=MAX_PIXELS,
    )


def _spec(**options: Any) -> PreprocessSpec:
    from headstock.preprocess import PreprocessSpec

    # Through the checked options and back, so that equal settings have one spelling and one digest.
    return PreprocessSpec("image", ImageOptions.parse(options).to_json(), {})


def _processor_name(stated: Mapping[str, Any], assumed: str) -> str:
    """`ViTImageProcessorFast` and `ViTFeatureExtractor` are both `ViT`."""
    name = str(stated.get("image_processor_type") or stated.get("feature_extractor_type") or assumed)
    return re.sub(r"(ImageProcessor(Fast|Pil)?|FeatureExtractor)$", "", name)


def _geometry(settings: Mapping[str, Any]) -> tuple[Any, Any]:
    size = settings["size"]
    if isinstance(size, int):
        size = {"height": size, "width": size} if settings["square"] else {"shortest_edge": size}
    crop = settings["crop_size"] if settings.get("do_center_crop") else None
    if isinstance(crop, int):
        crop = [crop, crop]
    elif isinstance(crop, Mapping):
        crop = [crop.get("height"), crop.get("width")]
    return size, crop


def _crop_pct_geometry(settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """ConvNext's rule: below 384 pixels resize to `edge / crop_pct` and crop, from there on squeeze to a square."""
    size = settings["size"]
    edge = size.get("shortest_edge") if isinstance(size, Mapping) else size
    if not isinstance(edge, int) or settings.get("do_center_crop"):
        raise Unsupported(f"image processor ConvNext with size {size!r} or a second crop; expected a shortest edge")
    if edge >= 384:
        return {"height": edge, "width": edge}, None
    return {"shortest_edge": int(edge / settings["crop_pct"])}, [edge, edge]


def _normalisation(settings: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Mean and deviation with EfficientNet's two extras folded in.

    `rescale_offset` subtracts 1 first; `include_top` divides by the deviation a second time, as the checkpoints that
    were converted from Keras need.
    """
    channels = len(settings["image_mean"])
    mean, std = [0.0] * channels, [1.0] * channels
    if settings["do_normalize"]:
        mean, std = list(settings["image_mean"]), list(settings["image_std"])
    if settings.get("rescale_offset"):
        mean = [m + 1 for m in mean]
    if settings.get("include_top"):
        std = [s * t for s, t in zip(std, settings["image_std"], strict=True)]
    return mean, std


def _interpolation(resample: Any, files: SourceFiles) -> str:
    if resample not in _FILTERS:
        raise InvalidInput(f"{PROCESSOR} of {files.spec!r} has resample {resample!r}; expected one of {_FILTERS}")
    return _FILTERS[resample]


def _mode(channels: Any, files: SourceFiles) -> str:
    if channels not in _MODES:
        raise Unsupported(f"{files.spec!r} takes {channels!r} channels; expected 3 (colour) or 1 (grey)")
    return _MODES[channels]
