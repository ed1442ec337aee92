"""Encoded pictures to normalised pixels: the `image` preprocessing, on pillow and numpy alone."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

# Imported by name so that opening a WebP does not make pillow import its forty other readers.
from PIL import Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from headstock.errors import InvalidInput
from headstock.preprocess.image_options import ImageOptions
from headstock.preprocess.spec import Array, PreprocessSpec, Row
from headstock.records import TensorSpec

FORMATS = (
    JpegImagePlugin.JpegImageFile.format,
    PngImagePlugin.PngImageFile.format,
    WebPImagePlugin.WebPImageFile.format,
)
"""Formats that are opened at all, by pillow's names: every further reader is attack surface."""
MAX_SCANS = 64
"""Most scans of a progressive JPEG. Encoders write about ten; a hundred bytes can ask for one more pass over every
pixel, so that 4 MB could keep a core busy for a quarter of an hour."""
COST_UNIT = 32
"""Edge in pixels of the square that counts as one unit of `Row.length`."""

_ORIENTATION = 0x0112
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImagePreprocessor:
    """The `image` kind; see `ImageOptions` for its options. It has no files.

    Animations give their first frame, EXIF orientation is applied, transparency is laid on white. Rows hold one
    FP32 array `pixel_values` [channels, height, width], all of one shape. Thread-safe.
    """

    spec: PreprocessSpec

    def __init__(self, spec: PreprocessSpec, files: Mapping[str, Path]) -> None:
        """Check the spec. Raises `InvalidInput`."""
        if spec.files:
            raise InvalidInput(f"image preprocessing has files {sorted(spec.files)}; expected none")
        self.spec = spec
        self._options = ImageOptions.parse(spec.options)
        self._shape = (self._options.channels, *self._options.output)
        self._resample = Image.Resampling[self._options.interpolation.upper()]
        self._tables = _tables(self._options)
        _, height, width = self._shape
        self._length = math.ceil(height / COST_UNIT) * math.ceil(width / COST_UNIT)

    @property
    def raw_input(self) -> TensorSpec:
        """`image` BYTES [-1]: encoded JPEG, PNG or WebP."""
        return TensorSpec("image", "BYTES", (-1,))

    @property
    def tensor_inputs(self) -> tuple[TensorSpec, ...]:
        """`pixel_values` FP32 [-1, channels, height, width], resized, cropped and normalised."""
        return (TensorSpec("pixel_values", "FP32", (-1, *self._shape)),)

    def rows(self, raw: Sequence[Any]) -> list[Row]:
        """One row per encoded image. Raises `InvalidInput` naming the image's index."""
        return [self.row(data, index) for index, data in enumerate(raw)]

    def row(self, data: Any, index: int) -> Row:
        """The row of one encoded image. Raises `InvalidInput` that calls it by `index`."""
        return Row({"pixel_values": self._pixels(data, index)}, self._length)

    def rows_from_tensors(self, tensors: Mapping[str, Array]) -> list[Row]:
        """One row per first-axis slice of `pixel_values` FP32 [n, channels, height, width]. Raises `InvalidInput`."""
        if list(tensors) != ["pixel_values"]:
            raise InvalidInput(f"inputs {sorted(tensors)} do not fit; expected ['pixel_values']")
        pixels = tensors["pixel_values"]
        if pixels.dtype != np.float32:
            raise InvalidInput(f"input 'pixel_values' has dtype {pixels.dtype}; expected float32 (FP32)")
        if pixels.shape[1:] != self._shape:
            raise InvalidInput(
                f"input 'pixel_values' has shape {list(pixels.shape)}; expected {['n', *self._shape]}",
                fix="send 'image', which is resized for you",
            )
        return [Row({"pixel_values": image}, self._length) for image in pixels]

    def collate(self, rows: Sequence[Row]) -> dict[str, Array]:
        """`pixel_values` FP32 [len(rows), channels, height, width]."""
        return {"pixel_values": np.stack([row.tensors["pixel_values"] for row in rows])}

    def __repr__(self) -> str:
        return f"ImagePreprocessor(shape={self._shape}, interpolation={self._options.interpolation!r})"

    def _pixels(self, data: Any, index: int) -> npt.NDArray[np.float32]:
        if not isinstance(data, bytes):
            raise InvalidInput(f"image {index} is a {type(data).__name__}; expected the bytes of a JPEG, PNG or WebP")
        image = self._decoded(data, index)
        size = self._options.resized(image.height, image.width)
        # A sliver such as 1 x 50000 is small to decode and enormous once its short edge has grown to 224.
        if math.prod(size) > self._options.max_pixels:
            raise InvalidInput(
                f"image {index} is {image.width} x {image.height}, too elongated: resizing it to "
                f"{size[1]} x {size[0]} passes {self._options.max_pixels} pixels",
                fix="crop it",
            )
        image = image.resize((size[1], size[0]), self._resample)
        if self._options.crop is not None:
            image = image.crop(self._options.crop_box(image.height, image.width))
        values = np.asarray(image).reshape(*self._shape[1:], -1)
        pixels = np.empty(self._shape, np.float32)
        for channel, table in enumerate(self._tables):
            pixels[channel] = table[values[..., channel]]
        return pixels

    def _decoded(self, data: bytes, index: int) -> Image.Image:
        """The upright first frame, in the mode asked for."""
        refusal = InvalidInput(
            f"image {index} cannot be read: {len(data)} bytes, truncated, damaged or not an image; "
            "expected a JPEG, PNG or WebP"
        )
        try:
            opened = Image.open(io.BytesIO(data), formats=FORMATS)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise InvalidInput(
                f"image {index} declares too many pixels; expected at most {self._options.max_pixels}"
            ) from error
        # Pillow's readers raise nearly anything for a malformed file; its texts name objects and addresses.
        except Exception as error:
            raise refusal from error
        self._check_cost(opened, data, index)
        try:
            opened.load()
            return _converted(_upright(opened), self._options.mode)
        except Exception as error:
            raise refusal from error

    def _check_cost(self, opened: Image.Image, data: bytes, index: int) -> None:
        # Only the header has been read: this is the last moment before memory and time are spent.
        if opened.width * opened.height > self._options.max_pixels:
            raise InvalidInput(
                f"image {index} declares {opened.width} x {opened.height} pixels; "
                f"expected at most {self._options.max_pixels}",
                fix="send it smaller",
            )
        # Entropy-coded data escapes 0xFF, so the marker's bytes count scans, plus at most a thumbnail's.
        scans = data.count(b"\xff\xda") if isinstance(opened, JpegImagePlugin.JpegImageFile) else 0
        if scans > MAX_SCANS:
            raise InvalidInput(f"image {index} is a JPEG of {scans} scans; expected at most {MAX_SCANS}")


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    # A picture with broken metadata is still a picture; every viewer shows it as it is stored.
    except Exception:
        return image
    transpose = _TRANSPOSES.get(orientation)
    return image if transpose is None else image.transpose(transpose)


def _converted(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit grey: pillow would clip at 255, where for 16-bit colour it keeps the high byte.
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert(mode)


def _tables(options: ImageOptions) -> list[npt.NDArray[np.float32]]:
    """Per channel, the normalised value of each of the 256 pixel values: the arithmetic of transformers, done once."""
    values = (np.arange(256, dtype=np.float64) * options.rescale).astype(np.float32)
    mean, std = np.array(options.mean, np.float32), np.array(options.std, np.float32)
    return [(values - mean[c]) / std[c] for c in range(options.channels)]
