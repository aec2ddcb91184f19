"""RandAugment as vision-language pre-training uses it: nothing that makes a caption's colours wrong."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from ..images import RgbImage
from .operations import Draw, ImageOperation, register_image_operation

MAX_MAGNITUDE = 10
_APPLIED = 0.5  # share of the drawn operations that are carried out
_GREY = (128, 128, 128)  # fills what moves in from outside
_MAX_SHEAR = 0.3
_MAX_SHIFT = 10  # pixels
_MAX_ANGLE = 30  # degrees


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    """matrix: (a, b, c, d, e, f); output pixel (x, y) is the input's (ax + by + c, dx + ey + f)."""
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=_GREY)


def _rotate(image: Image.Image, share: float) -> Image.Image:
    return image.rotate(_MAX_ANGLE * share, Image.Resampling.BILINEAR, fillcolor=_GREY)


# Of an image and a strength from -1 to 1, negative only where _SIGNED says so.
AUGMENTATIONS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "Identity": lambda image, share: image,
    "AutoContrast": lambda image, share: ImageOps.autocontrast(image),
    "Equalize": lambda image, share: ImageOps.equalize(image),
    "Brightness": lambda image, share: ImageEnhance.Brightness(image).enhance(0.1 + 1.8 * share),
    "Sharpness": lambda image, share: ImageEnhance.Sharpness(image).enhance(0.1 + 1.8 * share),
    "ShearX": lambda image, share: _affine(image, 1, _MAX_SHEAR * share, 0, 0, 1, 0),
    "ShearY": lambda image, share: _affine(image, 1, 0, 0, _MAX_SHEAR * share, 1, 0),
    "TranslateX": lambda image, share: _affine(image, 1, 0, _MAX_SHIFT * share, 0, 1, 0),
    "TranslateY": lambda image, share: _affine(image, 1, 0, 0, 0, 1, _MAX_SHIFT * share),
    "Rotate": _rotate,
}
_NAMES = tuple(AUGMENTATIONS)
_SIGNED = frozenset({"ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"})


@register_image_operation("randaugment", is_random=True)
def randaugment(n: int = 2, magnitude: float = 7) -> ImageOperation:
    """Up to n random changes of geometry, brightness, contrast and sharpness, each carried out half of the time.

    Nothing inverts, mirrors or recolours: a caption stays true. The list and the strengths are those of ALBEF.

    Args:
        n: changes that are drawn.
        magnitude: their strength, 0 to 10; at 10 a shear of 0.3, a shift of 10 pixels, a turn of 30 degrees.
    """
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"n = {n!r} must be a whole number of at least 1")
    if not 0 <= magnitude <= MAX_MAGNITUDE:
        raise ValueError(f"magnitude = {magnitude!r} must lie between 0 and {MAX_MAGNITUDE}")
    strength = magnitude / MAX_MAGNITUDE

    def apply(image: RgbImage, draw: Draw) -> RgbImage:
        chosen = draw.rng.integers(len(_NAMES), size=n)
        applied = draw.rng.random(n) < _APPLIED
        signs = np.where(draw.rng.random(n) < 0.5, -1.0, 1.0)
        for name, sign in zip((_NAMES[i] for i in chosen[applied]), signs[applied], strict=True):
            share = float(sign) * strength if name in _SIGNED else strength
            image = RgbImage(AUGMENTATIONS[name](image.pillow, share))
        return image

    return apply
