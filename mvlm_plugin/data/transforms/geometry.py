"""Decoding, cropping, resizing and mirroring."""

import re
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from ..images import DEFAULT_MAX_PIXELS, BadImageError, RgbImage, decode_image
from .operations import Draw, ImageOperation, register_image_operation

_MAX_SIDE = 8192
_CROP_ATTEMPTS = 10
# "left" and "right" with their compounds; not bright, upright, leftover, righteous.
_SIDE_WORDS = re.compile(
    r"\b(?:(?:top|bottom|upper|lower|mid|far)[-_]?)?(?:left|right)"
    r"(?:[-_]?(?:most|wards?|hand(?:ed|ers?)?|side)|s|y)?\b",
    re.IGNORECASE,
)


def says_left_or_right(caption: str) -> bool:
    """Whether a caption speaks of left or right (or leftmost, right-hand, ...), and would be wrong if mirrored."""
    return _SIDE_WORDS.search(caption) is not None


@register_image_operation("decode", decodes=True)
def decode(max_pixels: int = DEFAULT_MAX_PIXELS, fast: bool = True) -> ImageOperation:
    """Encoded bytes to an upright RGB image.

    Args:
        max_pixels: larger images are refused.
        fast: decode JPEGs by simplejpeg where it is installed.
    """
    return lambda data, draw: decode_image(data, max_pixels, fast)


@register_image_operation("random_resized_crop", is_random=True)
def random_resized_crop(
    size: int, scale: float | Sequence[float] = 0.5, ratio: Sequence[float] = (3 / 4, 4 / 3)
) -> ImageOperation:
    """A random part of the image, resized (bicubic) to size x size.

    Args:
        size: pixels a side.
        scale: smallest area of the part, as a share of the image; or smallest and largest.
        ratio: smallest and largest width / height of the part.
    """
    _check_side(size)
    low, high = (scale, 1.0) if isinstance(scale, int | float) else scale
    _check_range("scale", low, high, largest=1.0)
    _check_range("ratio", *ratio)

    def apply(image: RgbImage, draw: Draw) -> RgbImage:
        box = random_box(image.width, image.height, (low, high), (ratio[0], ratio[1]), draw.rng)
        return resized(image.crop(*box), size, size)

    return apply


@register_image_operation("random_stretched_crop", is_random=True)
def random_stretched_crop(size: int, scale: float = 0.5) -> ImageOperation:
    """A random part of the image, its shape near the image's own, stretched to size x size: --train-crop-scale.

    Args:
        size: pixels a side.
        scale: smallest area of the part, as a share of the image.
    """
    _check_side(size)
    _check_range("scale", scale, 1.0, largest=1.0)

    def apply(image: RgbImage, draw: Draw) -> RgbImage:
        box = stretched_box(image.width, image.height, scale, draw.rng)
        return RgbImage(image.pillow.resize((size, size), Image.Resampling.BICUBIC, box=box))

    return apply


@register_image_operation("resize_exact")
def resize_exact(size: int) -> ImageOperation:
    """The whole image, stretched (bicubic) to size x size."""
    _check_side(size)
    return lambda image, draw: RgbImage(image.pillow.resize((size, size), Image.Resampling.BICUBIC))


@register_image_operation("resize")
def resize(size: int) -> ImageOperation:
    """The whole image in its own shape, its shorter side resized (bicubic) to ``size`` pixels."""
    _check_side(size)

    def apply(image: RgbImage, draw: Draw) -> RgbImage:
        shorter = min(image.width, image.height)
        width, height = (max(size, round(side * size / shorter)) for side in (image.width, image.height))
        if width * height > DEFAULT_MAX_PIXELS:
            raise BadImageError(f"{image.width} x {image.height} pixels: too long and thin to be resized to {size}")
        return resized(image, width, height)

    return apply


@register_image_operation("center_crop")
def center_crop(size: int) -> ImageOperation:
    """The middle of the image, size x size."""
    _check_side(size)

    def apply(image: RgbImage, draw: Draw) -> RgbImage:
        if min(image.width, image.height) < size:
            raise BadImageError(
                f"{image.width} x {image.height} pixels are too few for center_crop({size}), put resize before it"
            )
        return image.crop((image.width - size) // 2, (image.height - size) // 2, size, size)

    return apply


@register_image_operation("flip", is_random=True, needs_caption=True)
def flip(p: float = 0.5) -> ImageOperation:
    """Mirror left and right with probability p; never where the caption says left or right."""
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"p = {p!r} must lie between 0 and 1")

    def apply(image: RgbImage, draw: Draw) -> RgbImage:
        # Drawn in any case, so that a caption's words do not change what is drawn after it.
        if draw.rng.random() >= p or says_left_or_right(draw.caption):
            return image
        return RgbImage(image.array[:, ::-1])

    return apply


def random_box(
    width: int, height: int, scale: tuple[float, float], ratio: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """(left, top, width, height) of a random part in whole pixels.

    Area and shape are drawn until the part fits; after ten failures it is the largest middle part of allowed shape.
    """
    for _ in range(_CROP_ATTEMPTS):
        area = width * height * rng.uniform(*scale)
        shape = np.exp(rng.uniform(np.log(ratio[0]), np.log(ratio[1])))
        box_width, box_height = round(float(np.sqrt(area * shape))), round(float(np.sqrt(area / shape)))
        if 0 < box_width <= width and 0 < box_height <= height:
            left = int(rng.integers(width - box_width + 1))
            top = int(rng.integers(height - box_height + 1))
            return left, top, box_width, box_height
    box_width = max(1, min(width, round(height * ratio[1])))
    box_height = max(1, min(height, round(width / ratio[0])))
    return (width - box_width) // 2, (height - box_height) // 2, box_width, box_height


def stretched_box(
    width: int, height: int, min_scale: float, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of a random part: area min_scale..1, shape 3/4..4/3 times the image's."""
    area = rng.uniform(min_scale, 1.0)
    aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    box_width = min(1.0, np.sqrt(area * aspect)) * width
    box_height = min(1.0, np.sqrt(area / aspect)) * height
    left = rng.uniform(0.0, width - box_width)
    top = rng.uniform(0.0, height - box_height)
    return left, top, left + box_width, top + box_height


def resized(image: RgbImage, width: int, height: int) -> RgbImage:
    """Resize an image (bicubic, antialiased) to width x height pixels: Pillow's filter, several times as fast.

    Levels differ from Pillow's by rounding (by one, by two where an image is enlarged), and by more only where the
    first of the two passes overshoots 0 or 255.
    """
    if (image.width, image.height) == (width, height):
        return image
    pixels = torch.from_numpy(np.array(image.array, order="C")).permute(2, 0, 1)[None]
    pixels = torch.nn.functional.interpolate(pixels, size=(height, width), mode="bicubic", antialias=True)
    return RgbImage(pixels[0].permute(1, 2, 0).numpy())


def _check_side(size: int) -> None:
    if not isinstance(size, int) or not 1 <= size <= _MAX_SIDE:
        raise ValueError(f"size = {size!r} must be a whole number of pixels from 1 to {_MAX_SIDE}")


def _check_range(name: str, low: float, high: float, largest: float = float("inf")) -> None:
    if not 0.0 < low <= high <= largest:
        raise ValueError(f"{name} = {low!r} to {high!r} must be above 0, in order, and at most {largest}")
