"""Options of the `image` preprocessing: which part of a picture is looked at, and how its pixels become numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from headstock.errors import InvalidInput

MAX_PIXELS = 50_000_000
"""Most pixels that are decoded by default: four bytes each in pillow, so 200 MB."""
INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
"""Pillow's filters; all of them but `nearest` anti-alias."""
CHANNELS = {"RGB": 3, "L": 1}
"""Modes that pixels are converted to, with their channels."""
CROP_ROUNDINGS = ("down", "half-even")
"""What becomes of half a pixel of margin: transformers rounds it down, torchvision (and so timm) to the even one."""

_MAX_EDGE = 4096


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """Checked options. Order: resize, crop in the middle, `(pixel * rescale - mean) / std` per channel."""

    size: Mapping[str, int]
    """`{"shortest_edge": n}` keeps the aspect ratio; `{"height": h, "width": w}` does not. In pixels."""
    crop: tuple[int, int] | None
    """Height and width cut out of the middle, or None."""
    crop_rounding: str
    """`down` or `half-even`: which pixel is the middle when the margin is odd."""
    interpolation: str
    mean: tuple[float, ...]
    """One per channel, in the range after `rescale`."""
    std: tuple[float, ...]
    rescale: float
    """Usually 1/255."""
    mode: str
    """`RGB` or `L`."""
    max_pixels: int
    """Most pixels that are decoded, or resized to."""

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> ImageOptions:
        """Options out of a spec. Raises `InvalidInput` that names the option."""
        names = [field.name for field in fields(cls)]
        if sorted(options) != sorted(names):
            raise InvalidInput(f"image preprocessing options are {sorted(options)}; expected {sorted(names)}")
        _check_choices(options)
        size = _size(options["size"])
        crop = options["crop"]
        if crop is not None:
            if not isinstance(crop, (list, tuple)) or len(crop) != 2 or not all(map(_is_edge, crop)):
                raise _wrong("crop", crop, f"null or [height, width] of 1 to {_MAX_EDGE} pixels")
            # Padding what is too small would show the network a frame that it was never trained on.
            least = (size["shortest_edge"],) * 2 if "shortest_edge" in size else (size["height"], size["width"])
            if crop[0] > least[0] or crop[1] > least[1]:
                raise _wrong("crop", crop, f"at most the resized image's {list(least)}")
        elif "shortest_edge" in size:
            raise _wrong("crop", crop, "[height, width]: without it images resized by their shortest edge differ")
        channels = CHANNELS[options["mode"]]
        return cls(
            size=size,
            crop=None if crop is None else (crop[0], crop[1]),
            crop_rounding=options["crop_rounding"],
            interpolation=options["interpolation"],
            mean=_numbers("mean", options["mean"], channels, positive=False),
            std=_numbers("std", options["std"], channels, positive=True),
            rescale=_numbers("rescale", [options["rescale"]], 1, positive=True)[0],
            mode=options["mode"],
            max_pixels=options["max_pixels"],
        )

    def to_json(self) -> dict[str, Any]:
        """The options of a spec: JSON values only, all of them."""
        value = asdict(self)
        return value | {
            "size": dict(self.size),
            "crop": None if self.crop is None else list(self.crop),
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @property
    def channels(self) -> int:
        """3 for colour, 1 for grey."""
        return CHANNELS[self.mode]

    @property
    def output(self) -> tuple[int, int]:
        """Height and width of what the network sees."""
        return self.crop or (self.size["height"], self.size["width"])

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that an image of `height` and `width` has before the crop."""
        if "height" in self.size:
            return self.size["height"], self.size["width"]
        edge = self.size["shortest_edge"]
        # The longer edge is rounded down, as torchvision and transformers do.
        if width <= height:
            return int(edge * height / width), edge
        return edge, int(edge * width / height)

    def crop_box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of the crop in an image of `height` and `width`."""
        crop_height, crop_width = self.output
        if self.crop_rounding == "half-even":
            top, left = round((height - crop_height) / 2), round((width - crop_width) / 2)
        else:
            top, left = (height - crop_height) // 2, (width - crop_width) // 2
        return left, top, left + crop_width, top + crop_height


def _check_choices(options: Mapping[str, Any]) -> None:
    choices = {"interpolation": INTERPOLATIONS, "crop_rounding": CROP_ROUNDINGS, "mode": tuple(CHANNELS)}
    for name, allowed in choices.items():
        if options[name] not in allowed:
            raise _wrong(name, options[name], f"one of {list(allowed)}")
    most = options["max_pixels"]
    if not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= 10 * MAX_PIXELS:
        raise _wrong("max_pixels", most, f"1 to {10 * MAX_PIXELS}")


def _size(value: Any) -> dict[str, int]:
    keys = sorted(value) if isinstance(value, Mapping) else []
    if keys not in (["shortest_edge"], ["height", "width"]) or not all(_is_edge(value[key]) for key in keys):
        raise _wrong("size", value, f"{{'shortest_edge': n}} or {{'height': h, 'width': w}} of 1 to {_MAX_EDGE} pixels")
    return {key: value[key] for key in keys}


def _is_edge(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MAX_EDGE


def _numbers(name: str, value: Any, count: int, *, positive: bool) -> tuple[float, ...]:
    numbers = list(value) if isinstance(value, (list, tuple)) else []
    good = len(numbers) == count and all(
        isinstance(n, (int, float)) and not isinstance(n, bool) and math.isfinite(n) and (n > 0 or not positive)
        for n in numbers
    )
    if not good:
        raise _wrong(name, value, f"{count} finite numbers" + (" above 0" if positive else ""))
    return tuple(float(n) for n in numbers)


def _wrong(name: str, value: Any, expected: str) -> InvalidInput:
    return InvalidInput(f"image preprocessing option {name!r} is {value!r}; expected {expected}")
