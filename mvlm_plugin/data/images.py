"""From encoded bytes to RGB pixels: the one decoder that preparation and training share."""

import functools
import importlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Formats whose Pillow readers are plain decoders. Others (EPS, for one) start programs.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
DEFAULT_MAX_PIXELS = 50_000_000
_ORIENTATION = 0x0112  # EXIF tag; 1 = upright
_PREVIEW_SIDE = 60  # pixels; an eighth of 480
_SIDEWAYS = {5, 6, 7, 8}


class BadImageError(ValueError):
    """Bytes that are no usable image; the message says why."""


def open_image(data: bytes, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image.Image:
    """Open and decode an image in its own colour mode.

    Args:
        data: encoded bytes.
        max_pixels: larger images are refused before a pixel is decoded.

    Raises:
        BadImageError: empty, unknown format, damaged, truncated or too large.
    """
    with _bad_image_errors():
        image = _open_header(data, max_pixels)
        image.load()
        return image


class Preview(NamedTuple):
    """What preparation has to know of an image.

    image: upright, RGB; a JPEG is grey and made smaller while decoding, where both sides have at least twice
    _PREVIEW_SIDE pixels; width, height: of the upright image in full, in pixels; mode: Pillow colour mode before the
    conversion to RGB.
    """

    image: Image.Image
    width: int
    height: int
    mode: str


def preview_image(data: bytes, max_pixels: int = DEFAULT_MAX_PIXELS) -> Preview:
    """Decode an image to see that it is sound: of a JPEG all bytes are decoded, but not all pixels are worked out.

    Args:
        data, max_pixels: as for open_image.

    Raises:
        BadImageError: as open_image and to_rgb; damaged JPEGs are refused just where open_image refuses them.
    """
    with _bad_image_errors():
        image = _open_header(data, max_pixels)
        width, height, mode = *image.size, image.mode
        image.draft("L", (_PREVIEW_SIDE, _PREVIEW_SIDE))
        image.load()
        if image.getexif().get(_ORIENTATION, 1) in _SIDEWAYS:
            width, height = height, width
    return Preview(to_rgb(image), width, height, mode)


def _open_header(data: bytes, max_pixels: int) -> Image.Image:
    if not data:
        raise BadImageError("empty file")
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    if image.width * image.height > max_pixels:
        raise BadImageError(f"{image.width} x {image.height} pixels are more than the limit of {max_pixels}")
    return image


@contextmanager
def _bad_image_errors() -> Iterator[None]:
    try:
        yield
    except BadImageError:
        raise
    except Image.DecompressionBombError as error:
        raise BadImageError(f"too many pixels: {error}") from error
    except UnidentifiedImageError as error:
        raise BadImageError(f"not an image of these formats: {', '.join(FORMATS)}") from error
    except Exception as error:  # Pillow's decoders raise nearly every type on hostile bytes
        raise BadImageError(f"cannot be decoded: {type(error).__name__}: {error}") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Any colour mode to 8-bit RGB, upright. Transparent pixels become white; 16 bits keep the upper 8.

    Raises:
        BadImageError: the mode or its EXIF data cannot be converted.
    """
    try:
        if image.getexif().get(_ORIENTATION, 1) != 1:
            image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):
            image = Image.fromarray(np.clip(np.asarray(image) >> 8, 0, 255).astype(np.uint8))
        elif image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
            rgba = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        return image if image.mode == "RGB" else image.convert("RGB")
    except Exception as error:  # hostile EXIF blocks and palettes raise nearly every type
        raise BadImageError(f"cannot be made RGB: {type(error).__name__}: {error}") from error


def decode_rgb(data: bytes, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image.Image:
    """Encoded bytes to an upright 8-bit RGB image.

    Raises:
        BadImageError: see open_image.
    """
    return to_rgb(open_image(data, max_pixels))


class RgbImage:
    """An 8-bit RGB image as a Pillow image or as an array, whichever is at hand; the other is made when asked for.

    Args:
        pixels: a Pillow image of mode RGB, or a (H, W, 3) uint8 array, which may be read-only or a view.

    Raises:
        ValueError: another mode, shape or type.
    """

    def __init__(self, pixels: Image.Image | np.ndarray) -> None:
        self._pillow = pixels if isinstance(pixels, Image.Image) else None
        self._array = pixels if isinstance(pixels, np.ndarray) else None
        if self._pillow is not None:
            if self._pillow.mode != "RGB":
                raise ValueError(f"an image of mode {self._pillow.mode} is not RGB")
            self.width, self.height = self._pillow.size
            return
        if self._array is None:
            raise ValueError(f"a {type(pixels).__name__} is neither a Pillow image nor an array")
        if self._array.dtype != np.uint8 or self._array.ndim != 3 or self._array.shape[2] != 3:
            raise ValueError(
                f"an array of shape {self._array.shape} and type {self._array.dtype} is not (H, W, 3) uint8"
            )
        self.height, self.width = self._array.shape[:2]

    @property
    def pillow(self) -> Image.Image:
        """As a Pillow image. Do not draw into it."""
        if self._pillow is None:
            assert self._array is not None
            self._pillow = Image.fromarray(self._array)
        return self._pillow

    @property
    def array(self) -> np.ndarray:
        """As a (H, W, 3) uint8 array. Do not write into it."""
        if self._array is None:
            self._array = np.asarray(self._pillow)
        return self._array

    def crop(self, left: int, top: int, width: int, height: int) -> "RgbImage":
        """A rectangle of the image, in pixels."""
        if self._array is not None:
            return RgbImage(self._array[top : top + height, left : left + width])
        return RgbImage(self.pillow.crop((left, top, left + width, top + height)))


def decode_image(data: bytes, max_pixels: int = DEFAULT_MAX_PIXELS, fast: bool = True) -> RgbImage:
    """Encoded bytes to an upright RGB image, by the fastest decoder that is installed.

    Both decoders take and refuse the same files and give the same pixels within one level.

    Args:
        data: encoded bytes.
        max_pixels: larger images are refused before a pixel is decoded.
        fast: whether JPEGs may be decoded by simplejpeg where it is installed; otherwise Pillow decodes them.

    Raises:
        BadImageError: see open_image.
    """
    pixels = _decode_jpeg(data, max_pixels) if fast else None
    return RgbImage(decode_rgb(data, max_pixels) if pixels is None else pixels)


@functools.cache
def _simplejpeg() -> ModuleType | None:
    try:
        return importlib.import_module("simplejpeg")
    except ImportError:
        return None


def _decode_jpeg(data: bytes, max_pixels: int) -> np.ndarray | None:
    """(H, W, 3) uint8 of an upright RGB or grey JPEG without any fault; None for all that Pillow has to judge."""
    decoder = _simplejpeg()
    if decoder is None or not data.startswith(b"\xff\xd8\xff"):
        return None
    try:
        image = Image.open(io.BytesIO(data), formats=("JPEG",))  # reads the header only
        plain = image.format == "JPEG" and image.mode in {"RGB", "L"} and image.width * image.height <= max_pixels
        if not plain or image.getexif().get(_ORIENTATION, 1) != 1:
            return None
        if decoder.decode_jpeg_header(data)[:2] != (image.height, image.width):
            return None
        return decoder.decode_jpeg(data, fastdct=False, fastupsample=False, strict=True)
    except Exception:  # Pillow decides about damaged files, and says what is wrong
        return None
