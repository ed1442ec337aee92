"""Image preprocessing: pixels equal to the field's own processors, and bad pictures refused in time."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headstock.errors import InvalidInput
from headstock.preprocess import PreprocessSpec, open_preprocessor
from headstock.preprocess.image import MAX_SCANS, ImagePreprocessor
from headstock.preprocess.image_options import ImageOptions
from headstock.preprocess.image_samples import hostile, samples

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def options(**changes: Any) -> dict[str, Any]:
    """A plain 8 x 8 spec whose pixel values stay 0 to 255, with changes."""
    plain = {
        "size": {"height": 8, "width": 8},
        "crop": None,
        "crop_rounding": "down",
        "interpolation": "nearest",
        "mean": [0.0, 0.0, 0.0],
        "std": [1.0, 1.0, 1.0],
        "rescale": 1.0,
        "mode": "RGB",
        "max_pixels": 50_000_000,
    }
    return plain | changes


def preprocessor(**changes: Any) -> ImagePreprocessor:
    opened = open_preprocessor(PreprocessSpec("image", options(**changes), {}), {})
    assert isinstance(opened, ImagePreprocessor)
    return opened


def pixels(data: bytes, **changes: Any) -> np.ndarray[Any, Any]:
    return preprocessor(**changes).rows([data])[0].tensors["pixel_values"]


def encoded(image: Image.Image, image_format: str = "PNG", **arguments: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **arguments)
    return file.getvalue()


def flat(colour: Any, mode: str = "RGB", size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.new(mode, size, colour)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int) -> bytes:
    """A PNG of some hundred bytes that declares any size."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    """Two photographs, one of them upright."""
    from sklearn.datasets import load_sample_images

    first, second = (Image.fromarray(photo) for photo in load_sample_images().images)
    return [first, second.rotate(90, expand=True).crop((3, 0, 427, 601))]


def vit(**changes: Any) -> Any:
    from transformers import ViTImageProcessorPil

    return ViTImageProcessorPil(**changes)


def convnext(**changes: Any) -> Any:
    from transformers import ConvNextImageProcessorPil

    return ConvNextImageProcessorPil(image_mean=MEAN, image_std=STD, **changes)


def clip(**changes: Any) -> Any:
    from transformers import CLIPImageProcessorPil

    return CLIPImageProcessorPil(image_mean=MEAN, image_std=STD, **changes)


HALF = {"mean": [0.5] * 3, "std": [0.5] * 3, "rescale": 1 / 255}
IMAGENET = {"mean": MEAN, "std": STD, "rescale": 1 / 255}
SQUARE = {"size": {"height": 224, "width": 224}}
PROCESSORS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "squeezed square": (vit, {**SQUARE, **HALF, "interpolation": "bilinear"}),
    "nearest": (lambda: vit(resample=0), {**SQUARE, **HALF, "interpolation": "nearest"}),
    "lanczos": (lambda: vit(resample=1), {**SQUARE, **HALF, "interpolation": "lanczos"}),
    "crop_pct 0.875": (
        lambda: convnext(size={"shortest_edge": 224}),
        {"size": {"shortest_edge": 256}, "crop": [224, 224], **IMAGENET, "interpolation": "bicubic"},
    ),
    "odd margins": (
        lambda: convnext(size={"shortest_edge": 225}, crop_pct=0.95),
        {"size": {"shortest_edge": 236}, "crop": [225, 225], **IMAGENET, "interpolation": "bicubic"},
    ),
    "shortest edge and crop": (
        lambda: clip(size={"shortest_edge": 240}, crop_size={"height": 200, "width": 224}),
        {"size": {"shortest_edge": 240}, "crop": [200, 224], **IMAGENET, "interpolation": "bicubic"},
    ),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_pixels_equal_those_of_the_transformers_processor(name: str, photos: list[Image.Image]) -> None:
    make, changes = PROCESSORS[name]
    processor = make()
    for photo in photos:
        expected = processor(images=photo, return_tensors="np")["pixel_values"][0]
        found = pixels(encoded(photo), **changes)
        assert found.shape == expected.shape
        assert float(np.abs(found - expected).max()) <= 1e-5


def test_half_even_rounding_takes_the_pixels_that_torchvision_takes() -> None:
    """torchvision rounds half of the margin to the even pixel; 8 to 5 leaves a margin of 1.5, 8 to 1 one of 3.5."""
    ramp = np.tile(np.arange(8, dtype=np.uint8)[None, :, None], (8, 1, 3))
    data = encoded(Image.fromarray(ramp))
    assert pixels(data, crop=[5, 5], crop_rounding="half-even")[0, 0, 0] == 2
    assert pixels(data, crop=[5, 5], crop_rounding="down")[0, 0, 0] == 1
    assert pixels(data, crop=[1, 1], crop_rounding="half-even")[0, 0, 0] == 4
    assert pixels(data, crop=[1, 1], crop_rounding="down")[0, 0, 0] == 3


def test_rows_have_one_shape_and_stack_into_a_batch() -> None:
    opened = preprocessor(size={"height": 64, "width": 96})
    rows = opened.rows(samples())
    assert {row.tensors["pixel_values"].shape for row in rows} == {(3, 64, 96)}
    assert {row.length for row in rows} == {6}, "64 x 96 pixels are six squares of 32"
    batch = opened.collate(rows[:3])["pixel_values"]
    assert batch.shape == (3, 3, 64, 96)
    assert batch.dtype == np.float32
    assert batch.flags.c_contiguous


def test_a_row_costs_at_least_one_unit() -> None:
    assert preprocessor().rows([encoded(flat("red"))])[0].length == 1


def test_the_wire_sees_bytes_or_pixels() -> None:
    opened = preprocessor()
    assert (opened.raw_input.name, opened.raw_input.datatype, opened.raw_input.shape) == (
        "image",
        "BYTES",
        (-1,),
    )
    (tensor,) = opened.tensor_inputs
    assert (tensor.name, tensor.datatype, tensor.shape) == ("pixel_values", "FP32", (-1, 3, 8, 8))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    from PIL import ImageOps

    stored = Image.fromarray(np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).resize((8, 8), Image.Resampling.NEAREST)
    assert np.array_equal(pixels(data), np.asarray(upright).transpose(2, 0, 1))


def test_a_picture_with_broken_metadata_is_still_read() -> None:
    data = encoded(flat((10, 20, 30)), "PNG", exif=b"Exif\0\0garbage")
    assert pixels(data)[:, 0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize(
    "image, expected",
    [
        pytest.param(flat((0, 0, 0, 0), "RGBA"), [255, 255, 255], id="transparent becomes white"),
        pytest.param(flat((100, 0, 0, 255), "RGBA"), [100, 0, 0], id="opaque stays"),
        pytest.param(flat((40, 0), "LA"), [255, 255, 255], id="transparent grey"),
        pytest.param(flat(70, "L"), [70, 70, 70], id="grey"),
        pytest.param(flat(1, "1"), [255, 255, 255], id="one bit"),
        pytest.param(flat(200 * 256 + 7, "I;16"), [200, 200, 200], id="sixteen bits keep the high byte"),
        pytest.param(flat((9, 8, 7)).quantize(4), [9, 8, 7], id="palette"),
    ],
)
def test_every_pixel_format_becomes_colour(image: Image.Image, expected: list[int]) -> None:
    assert pixels(encoded(image))[:, 3, 3].tolist() == expected


def test_cmyk_jpeg_becomes_colour() -> None:
    found = pixels(encoded(flat((0, 0, 0, 0), "CMYK"), "JPEG"))
    assert found[:, 3, 3].tolist() == [255, 255, 255]


def test_grey_networks_get_one_channel() -> None:
    found = pixels(encoded(flat((30, 30, 30))), mode="L", mean=[0.0], std=[2.0])
    assert found.shape == (1, 8, 8)
    assert found.max() == 15.0


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_an_animation_gives_its_first_frame(image_format: str) -> None:
    frames = [flat((250, 0, 0)), flat((0, 250, 0)), flat((0, 0, 250))]
    data = encoded(frames[0], image_format, save_all=True, append_images=frames[1:], lossless=True)
    assert pixels(data)[:, 0, 0].tolist() == [250, 0, 0]


def test_a_single_pixel_is_a_picture() -> None:
    assert pixels(encoded(flat((1, 2, 3), size=(1, 1))))[:, 7, 7].tolist() == [1, 2, 3]


def broken() -> dict[str, bytes]:
    photo = Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    jpeg, png, webp = (encoded(photo, name) for name in ("JPEG", "PNG", "WEBP"))
    return {
        "empty": b"",
        "text": b"GET / HTTP/1.1",
        "truncated jpeg": jpeg[: len(jpeg) // 2],
        "truncated png": png[: len(png) // 2],
        "truncated webp": webp[: len(webp) // 2],
        "png header only": png[:33],
        "damaged png": png[:100] + bytes(100) + png[200:],
        "gif": encoded(flat("red"), "GIF"),
        "tiff": encoded(flat("red"), "TIFF"),
        "bmp": encoded(flat("red"), "BMP"),
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "zero pixels": png_header(0, 0),
    }


@pytest.mark.parametrize("name", list(broken()))
def test_what_is_no_whole_picture_is_refused_by_index(name: str) -> None:
    good = encoded(flat("red"))
    with pytest.raises(InvalidInput, match="image 1 cannot be read") as caught:
        preprocessor().rows([good, broken()[name]])
    assert "0x" not in str(caught.value), "addresses of objects are nobody's business"


def test_a_polyglot_is_read_as_the_picture_it_is() -> None:
    data = encoded(flat((5, 6, 7))) + b"<script>alert(1)</script>PK\x03\x04"
    assert pixels(data)[:, 0, 0].tolist() == [5, 6, 7]


@pytest.mark.parametrize("sample", ["photo.jpg", 7, None, [1, 2]])
def test_only_bytes_are_images(sample: Any) -> None:
    with pytest.raises(InvalidInput, match=r"image 0 is a \w+; expected the bytes"):
        preprocessor().rows([sample])


def test_a_huge_header_is_refused_before_any_memory_is_taken() -> None:
    """A process that may not grow by 300 MB refuses 50,000 x 50,000 and 10,000 x 10,000 declared pixels."""
    program = """
import resource, sys
from headstock.errors import InvalidInput
from headstock.preprocess import PreprocessSpec, open_preprocessor
from headstock.preprocess.image_options import ImageOptions
spec, pictures = eval(sys.stdin.read())
opened = open_preprocessor(PreprocessSpec("image", spec, {}), {})
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 300_000_000,) * 2)
for picture in pictures:
    try:
        opened.rows([picture])
    except InvalidInput as error:
        print(error.message)
"""
    pictures = [png_header(50_000, 50_000), png_header(10_000, 10_000), png_header(1, 2_000_000_000)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        input=repr((options(), pictures)),
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all("too many pixels" in line or "declares 10000 x 10000" in line for line in lines)


def test_the_pixel_limit_is_part_of_the_spec() -> None:
    data = encoded(flat("red", size=(11, 10)))
    with pytest.raises(InvalidInput, match=r"declares 11 x 10 pixels; expected at most 109"):
        preprocessor(max_pixels=109).rows([data])
    assert preprocessor(max_pixels=110).rows([data])


def test_a_sliver_is_refused_before_it_is_blown_up() -> None:
    data = encoded(flat("red", size=(30_000, 1)))
    with pytest.raises(InvalidInput, match=r"30000 x 1, too elongated: .* 6720000 x 224"):
        preprocessor(size={"shortest_edge": 224}, crop=[224, 224]).rows([data])


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    jpeg = encoded(flat("red", size=(64, 64)), "JPEG", progressive=True)
    scan = jpeg[jpeg.rfind(b"\xff\xda") : -2]
    with pytest.raises(InvalidInput, match=rf"scans; expected at most {MAX_SCANS}"):
        preprocessor().rows([jpeg[:-2] + scan * (MAX_SCANS + 1) + b"\xff\xd9"])
    assert preprocessor().rows([jpeg])


def test_ready_pixels_pass_through_unchanged() -> None:
    opened = preprocessor()
    made = np.random.default_rng(2).standard_normal((3, 3, 8, 8)).astype(np.float32)
    rows = opened.rows_from_tensors({"pixel_values": made})
    assert np.array_equal(opened.collate(rows)["pixel_values"], made)
    assert opened.rows_from_tensors({"pixel_values": made[:0]}) == []


@pytest.mark.parametrize(
    "tensors, message",
    [
        ({"pixel_values": np.zeros((1, 3, 8, 8))}, "dtype float64; expected float32"),
        (
            {"pixel_values": np.zeros((1, 3, 8, 9), np.float32)},
            r"shape \[1, 3, 8, 9\]; expected \['n', 3, 8, 8\]",
        ),
        ({"pixel_values": np.zeros((3, 8, 8), np.float32)}, r"shape \[3, 8, 8\]"),
        ({"pixels": np.zeros((1, 3, 8, 8), np.float32)}, r"expected \['pixel_values'\]"),
        ({}, r"expected \['pixel_values'\]"),
    ],
)
def test_ready_pixels_of_another_shape_are_refused(tensors: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        preprocessor().rows_from_tensors(tensors)


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"interpolation": "cubic"}, "interpolation"),
        ({"mode": "BGR"}, "mode"),
        ({"crop_rounding": "up"}, "crop_rounding"),
        ({"size": {"longest_edge": 8}}, "size"),
        ({"size": {"height": 8, "width": 0}}, "size"),
        ({"size": {"height": True, "width": 8}}, "size"),
        ({"size": 8}, "size"),
        ({"size": {"shortest_edge": 8}}, "crop"),
        ({"crop": [9, 8]}, "crop"),
        ({"size": {"shortest_edge": 8}, "crop": [8, 9]}, "crop"),
        ({"crop": [8]}, "crop"),
        ({"mean": [0.5]}, "mean"),
        ({"std": [0.5, 0.0, 0.5]}, "std"),
        ({"std": [0.5, float("inf"), 0.5]}, "std"),
        ({"rescale": 0}, "rescale"),
        ({"max_pixels": 0}, "max_pixels"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused_by_option(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInput, match=f"option '{named}'"):
        preprocessor(**changes)


def test_a_spec_names_all_of_its_options_and_no_others() -> None:
    incomplete = options()
    del incomplete["crop"]
    for wrong in (incomplete, options(sharpen=True)):
        with pytest.raises(InvalidInput, match="image preprocessing options are"):
            ImagePreprocessor(PreprocessSpec("image", wrong, {}), {})


def test_options_survive_json_and_keep_their_digest() -> None:
    spec = PreprocessSpec("image", options(crop=[4, 6]), {})
    again = PreprocessSpec("image", ImageOptions.parse(spec.options).to_json(), {})
    assert again.digest == spec.digest
    assert PreprocessSpec("image", options(crop=[6, 4]), {}).digest != spec.digest


def test_samples_are_varied_readable_and_the_same_every_time() -> None:
    opened = preprocessor(size={"height": 64, "width": 64})
    drawn = [*opened.rows(samples()), *opened.rows(hostile())]
    assert len(samples()) >= 10
    assert samples() == samples()
    assert len({row.tensors["pixel_values"].tobytes() for row in drawn}) == len(drawn)


def test_preprocessing_imports_neither_torch_nor_transformers() -> None:
    program = (
        "import sys, headstock.preprocess.image, headstock.preprocess.image_samples\n"
        "print(sorted({'torch', 'transformers', 'onnxruntime', 'grpc'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
