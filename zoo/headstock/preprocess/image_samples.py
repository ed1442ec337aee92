"""A few drawn pictures, encoded: what a pull shows a new image backbone to check its exported graph."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

_SIZES = (
    *((96, 128), (160, 120), (64, 64), (240, 320), (33, 57), (300, 100)),
    *((224, 224), (150, 331), (48, 40), (401, 288), (17, 16), (192, 256)),
)
"""Height and width in pixels: upright, lying, square, smaller and larger than a network's input."""
_EDGE = 64

Pixels = npt.NDArray[np.float64]


def samples() -> list[bytes]:
    """Twelve pictures of different sizes and contents as PNG and JPEG bytes; the same on every call."""
    random = np.random.default_rng(7)
    pictures = [_picture(random, *size) for size in _SIZES]
    return [_encoded(picture, "JPEG" if index % 3 == 2 else "PNG") for index, picture in enumerate(pictures)]


def hostile() -> list[bytes]:
    """Pictures at the ends of the range, as PNG bytes: black, white, and black and white pixel by pixel."""
    board = np.indices((_EDGE, _EDGE)).sum(axis=0) % 2
    flat = np.ones((_EDGE, _EDGE))
    return [_encoded(np.repeat(plane[..., None], 3, axis=2), "PNG") for plane in (0 * flat, flat, board)]


def _picture(random: np.random.Generator, height: int, width: int) -> Pixels:
    """[height, width, 3] in 0..1: a gradient, stripes, discs with hard edges, and grain, as photographs have."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    start, end = random.random((2, 3))
    angle = random.random() * 2 * np.pi
    ramp = (np.cos(angle) * x + np.sin(angle) * y)[..., None]
    picture: Pixels = start + (end - start) * ramp
    stripes = np.sin((x + y) * random.uniform(10, 80))[..., None] > 0.6
    picture = np.where(stripes, random.random(3), picture)
    for _ in range(5):
        centre, radius = random.random(2), random.uniform(0.05, 0.3)
        inside = ((y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2)[..., None]
        picture = np.where(inside, random.random(3), picture)
    return np.clip(picture + random.normal(0, 0.03, picture.shape), 0, 1)


def _encoded(picture: Pixels, image_format: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray((picture * 255).astype(np.uint8)).save(file, image_format)
    return file.getvalue()
