"""Pictures as another eye might see them: cropped, mirrored, in other light; numpy and pillow, seeded."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from headstock.preprocess.image_options import ImageOptions

Pixels = npt.NDArray[np.float32]
"""[channels, height, width]."""

_GREY = np.array([0.299, 0.587, 0.114], np.float32)
_TRIES = 10
_ASPECT = 4 / 3


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How different two views of a picture may be."""

    crop: float
    """Smallest share of the area that a view keeps; 1 crops nothing."""
    flip: float
    """How often a view is mirrored; 0 where left and right mean something."""
    light: float
    """How far brightness and contrast go from what they were; 0.4 is from 0.6 to 1.4 times."""
    grey: float
    """How often a view in colour loses it."""
    noise: float
    """Standard deviation of what is added to every value, of a range from 0 to 1."""


def augmented(pixels: Pixels, options: ImageOptions, how: Augmentation, random: np.random.Generator) -> Pixels:
    """Another view of preprocessed `pixels`, in the same shape and scale."""
    mean = np.array(options.mean, np.float32)[:, None, None]
    std = np.array(options.std, np.float32)[:, None, None]
    # Light is a matter of what the camera saw, so the normalisation is undone first.
    seen: npt.NDArray[np.floating] = _cropped(pixels * std + mean, how.crop, random)
    if random.random() < how.flip:
        seen = seen[:, :, ::-1]
    bright, contrast = 1 + how.light * random.uniform(-1, 1, 2)
    middle = seen.mean()
    seen = (seen * bright - middle) * contrast + middle
    if len(seen) == len(_GREY) and random.random() < how.grey:
        seen = np.broadcast_to(np.tensordot(_GREY, seen, 1), seen.shape)
    if how.noise:
        seen = seen + random.normal(0, how.noise, seen.shape)
    result: Pixels = ((seen - mean) / std).astype(np.float32)
    return result


def _cropped(pixels: Pixels, least: float, random: np.random.Generator) -> Pixels:
    """A part of at least that share of the area, of nearly the picture's shape, in the picture's size."""
    if least >= 1:
        return pixels
    _, height, width = pixels.shape
    box = _box(height, width, least, random)
    planes = [
        np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR, box=box))
        for plane in np.ascontiguousarray(pixels, np.float32)
    ]
    return np.stack(planes)


def _box(height: int, width: int, least: float, random: np.random.Generator) -> tuple[float, float, float, float]:
    for _ in range(_TRIES):
        area = random.uniform(least, 1) * height * width
        shape = math.exp(random.uniform(-math.log(_ASPECT), math.log(_ASPECT))) * width / height
        wide, high = math.sqrt(area * shape), math.sqrt(area / shape)
        if wide <= width and high <= height:
            left, top = random.uniform(0, width - wide), random.uniform(0, height - high)
            return left, top, left + wide, top + high
    return 0, 0, width, height
