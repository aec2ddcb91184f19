import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mvlm_plugin.data.images import BadImageError, RgbImage, decode_rgb, open_image
from tests.helpers import png


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def palette(transparent: int | None = None) -> bytes:
    """Left half colour 0, right half colour 1 of a palette."""
    image = Image.new("P", (4, 2), 0)
    image.putpalette([200, 10, 30, 5, 60, 250])
    image.paste(1, (2, 0, 4, 2))
    return encode(image, **({} if transparent is None else {"transparency": transparent}))


def sixteen_bit(level: int) -> Image.Image:
    return Image.fromarray(np.full((2, 4), level, dtype=np.uint16))


WHITE = (255, 255, 255)
# mode: encoded image of 4 x 2 pixels, colour of its left and right half
MODES = {
    "RGB": (encode(Image.new("RGB", (4, 2), (10, 20, 30))), (10, 20, 30), (10, 20, 30)),
    "L": (encode(Image.new("L", (4, 2), 77)), (77, 77, 77), (77, 77, 77)),
    "1": (encode(Image.new("1", (4, 2), 1)), WHITE, WHITE),
    "1, black": (encode(Image.new("1", (4, 2), 0)), (0, 0, 0), (0, 0, 0)),
    "P": (palette(), (200, 10, 30), (5, 60, 250)),
    "P, transparent": (palette(transparent=0), WHITE, (5, 60, 250)),
    "RGBA": (encode(Image.new("RGBA", (4, 2), (10, 20, 30, 255))), (10, 20, 30), (10, 20, 30)),
    "RGBA, clear": (encode(Image.new("RGBA", (4, 2), (10, 20, 30, 0))), WHITE, WHITE),
    "RGBA, half": (encode(Image.new("RGBA", (4, 2), (0, 0, 0, 128))), (127, 127, 127), (127, 127, 127)),
    "LA": (encode(Image.new("LA", (4, 2), (50, 255))), (50, 50, 50), (50, 50, 50)),
    "LA, clear": (encode(Image.new("LA", (4, 2), (50, 0))), WHITE, WHITE),
    "RGB, transparent colour": (
        encode(Image.new("RGB", (4, 2), (10, 20, 30)), transparency=(10, 20, 30)),
        WHITE,
        WHITE,
    ),
    "I;16": (encode(sixteen_bit(0x80FF)), (128, 128, 128), (128, 128, 128)),
    "I;16, white": (encode(sixteen_bit(0xFFFF)), WHITE, WHITE),
    "I;16, TIFF": (encode(sixteen_bit(0x4000), "TIFF"), (64, 64, 64), (64, 64, 64)),
    "CMYK": (encode(Image.new("CMYK", (4, 2), (0, 255, 255, 0)), "TIFF"), (255, 0, 0), (255, 0, 0)),
    "GIF": (encode(Image.new("RGB", (4, 2), (255, 0, 0)), "GIF"), (255, 0, 0), (255, 0, 0)),
    "BMP": (encode(Image.new("RGB", (4, 2), (1, 2, 3)), "BMP"), (1, 2, 3), (1, 2, 3)),
    "PPM": (encode(Image.new("RGB", (4, 2), (1, 2, 3)), "PPM"), (1, 2, 3), (1, 2, 3)),
    "WEBP": (encode(Image.new("RGB", (4, 2), (1, 2, 3)), "WEBP", lossless=True), (1, 2, 3), (1, 2, 3)),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_colour_mode_becomes_rgb(mode: str) -> None:
    data, left, right = MODES[mode]
    image = decode_rgb(data)
    assert image.mode == "RGB"
    assert image.size == (4, 2)
    assert image.getpixel((0, 1)) == pytest.approx(left, abs=1)
    assert image.getpixel((3, 0)) == pytest.approx(right, abs=1)


def test_cmyk_jpeg_becomes_rgb() -> None:
    image = decode_rgb(encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100))
    assert image.mode == "RGB"
    assert image.getpixel((8, 8)) == pytest.approx((255, 0, 0), abs=4)


@pytest.mark.parametrize(
    ("orientation", "size", "top_left"),
    [(1, (16, 8), "red"), (3, (16, 8), "blue"), (6, (8, 16), "red"), (8, (8, 16), "blue")],
)
def test_images_stand_upright(orientation: int, size: tuple[int, int], top_left: str) -> None:
    colours = {"red": (255, 0, 0), "blue": (0, 0, 255)}
    image = Image.new("RGB", (16, 8), colours["red"])
    image.paste(colours["blue"], (8, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = decode_rgb(encode(image, "JPEG", quality=100, exif=exif))
    assert upright.size == size
    assert upright.getpixel((1, 1)) == pytest.approx(colours[top_left], abs=12)


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))


def png_chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


HUGE_PNG = (
    b"\x89PNG\r\n\x1a\n"
    + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    + png_chunk(b"IDAT")
)
BAD = {
    "empty": (b"", "empty file"),
    "text": (b"no image at all", "not an image of these formats: JPEG"),
    "truncated JPEG": (encode(NOISE, "JPEG")[:700], "cannot be decoded"),
    "truncated PNG": (encode(NOISE)[:-1000], "cannot be decoded"),
    "header only": (encode(NOISE)[:16], "cannot be decoded"),
    "EPS": (encode(NOISE, "EPS"), "not an image of these formats: JPEG"),
    "huge": (HUGE_PNG, "pixels"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bytes_that_are_no_usable_image_are_refused(kind: str) -> None:
    data, message = BAD[kind]
    with pytest.raises(BadImageError, match=message):
        decode_rgb(data)


def test_every_truncation_is_an_error_or_an_image() -> None:
    data = encode(NOISE, "JPEG")
    for end in range(0, len(data), 97):
        with pytest.raises(BadImageError):
            decode_rgb(data[:end])


def test_images_above_the_limit_are_refused_before_they_are_decoded() -> None:
    data = png((1, 2, 3), size=(30, 20))
    assert open_image(data, max_pixels=600).size == (30, 20)
    with pytest.raises(BadImageError, match="30 x 20 pixels are more than the limit of 599"):
        open_image(data[:60], max_pixels=599)  # cut short: decoding it would fail in another way


PIXELS = np.random.default_rng(3).integers(0, 256, (6, 9, 3), dtype=np.uint8)


@pytest.mark.parametrize("image", [RgbImage(PIXELS), RgbImage(Image.fromarray(PIXELS))], ids=["array", "Pillow"])
def test_an_image_is_an_array_and_a_pillow_image(image: RgbImage) -> None:
    assert (image.width, image.height) == (9, 6)
    part = image.crop(2, 1, 5, 3)
    assert (part.width, part.height) == (5, 3)
    for _ in range(2):
        assert np.array_equal(image.array, PIXELS)
        assert np.array_equal(np.asarray(image.pillow), PIXELS)
        assert np.array_equal(part.array, PIXELS[1:4, 2:7])
        assert np.array_equal(np.asarray(part.pillow), PIXELS[1:4, 2:7])


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (Image.new("L", (4, 4)), "mode L is not RGB"),
        (PIXELS.astype(np.float32), r"shape \(6, 9, 3\) and type float32 is not"),
        (PIXELS[..., :2], r"shape \(6, 9, 2\)"),
        (PIXELS[0], r"shape \(9, 3\)"),
        (b"spam", "bytes is neither"),
    ],
)
def test_other_pixels_are_refused(pixels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RgbImage(pixels)
