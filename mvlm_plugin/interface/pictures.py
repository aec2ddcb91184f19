"""The images that a user gives, as the encoded bytes that an image pipeline takes."""

import io
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image

from ..data.images import DEFAULT_MAX_PIXELS, BadImageError, decode_rgb, to_rgb
from ..data.transforms import Pipeline

Picture = str | os.PathLike[str] | Image.Image | np.ndarray
Item = TypeVar("Item")


def as_pictures(images: Picture | Iterable[Picture]) -> Iterable[Picture]:
    """One image or several -> several. An array of four dimensions is several images."""
    if isinstance(images, str | os.PathLike | Image.Image):
        return [images]
    if isinstance(images, np.ndarray):
        return list(images) if images.ndim == 4 else [images]
    if isinstance(images, torch.Tensor) or not isinstance(images, Iterable):
        raise TypeError(f"a {type(images).__name__} is no image: give a path, a PIL image, an array, or a list of them")
    return images


def as_texts(texts: str | Iterable[str]) -> Iterable[str]:
    """One text or several -> several."""
    return [texts] if isinstance(texts, str) else texts


def in_batches(items: Iterable[Item], batch_size: int) -> Iterator[list[Item]]:
    """Lists of at most batch_size items, made as they are asked for.

    Raises:
        ValueError: batch_size is less than 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size {batch_size} must be at least 1")
    iterator = iter(items)
    while batch := list(islice(iterator, batch_size)):
        yield batch


def read_pixels(images: Iterable[tuple[int, Picture]], pipeline: Pipeline) -> torch.Tensor:
    """N images through a pipeline -> (N, 3, S, S) uint8.

    Args:
        images: with their numbers, for messages.
        pipeline: for held-out images.

    Raises:
        OSError: a file is missing.
        BadImageError: an image is damaged or too large; the message says which.
        TypeError, ValueError: something is no image.
    """
    rng = np.random.default_rng(0)  # pipelines of held-out images draw nothing
    pixels = []
    for number, image in images:
        name = os.fspath(image) if isinstance(image, str | os.PathLike) else f"image {number}"
        try:
            pixels.append(pipeline(_encoded(image), rng))
        except BadImageError as error:
            raise BadImageError(f"{name}: {error}") from error
    size = pipeline.image_size
    return torch.stack(pixels) if pixels else torch.zeros((0, 3, size, size), dtype=torch.uint8)


def read_mask(mask: np.ndarray, pipeline: Pipeline) -> torch.Tensor:
    """(H, W) bool mask of an image's pixels -> (S, S) bool mask of the pixels that the pipeline makes of it.

    A pixel is True where the mask covers half of it: less comes from interpolation beside an edge.
    """
    return read_pixels([(0, np.uint8(255) * mask.astype(np.uint8))], pipeline)[0, 0] >= 128


def size_of(image: Picture) -> tuple[int, int]:
    """Height and width of an image in pixels, upright."""
    upright = decode_rgb(_encoded(image))
    return upright.height, upright.width


def _encoded(image: Picture) -> bytes:
    """A file's bytes; of an image in memory an uncompressed file (PPM), which has the same pixels."""
    if isinstance(image, str | os.PathLike):
        return Path(image).read_bytes()
    if isinstance(image, np.ndarray):
        image = _from_array(image)
    if not isinstance(image, Image.Image):
        raise TypeError(f"a {type(image).__name__} is no image: give a path, a PIL image or an array")
    if image.width * image.height > DEFAULT_MAX_PIXELS:
        raise BadImageError(f"{image.width} x {image.height} pixels are more than the limit of {DEFAULT_MAX_PIXELS}")
    buffer = io.BytesIO()
    to_rgb(image).save(buffer, "PPM")
    return buffer.getvalue()


def _from_array(array: np.ndarray) -> Image.Image:
    """(H, W, 3) or grey (H, W) uint8 -> a PIL image."""
    is_image = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)
    if is_image and array.size and array.dtype == np.uint8:
        return Image.fromarray(np.ascontiguousarray(array))
    found = f"an array of shape {array.shape} and type {array.dtype} is no image: it must be (H, W, 3) or (H, W) uint8"
    if np.issubdtype(array.dtype, np.floating):
        found += "; for floats from 0 to 1: (255 * array).round().astype(numpy.uint8)"
    elif array.ndim == 3 and array.shape[2] == 4:
        found += "; for RGBA: PIL.Image.fromarray(array)"
    elif array.ndim == 3 and array.shape[0] == 3:
        found += "; for channels that come first: array.transpose(1, 2, 0)"
    raise ValueError(found)
