"""The registry of image operations, and what an operation is given."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...registry import Builder, Registry
from ..images import RgbImage

IMAGE_OPERATIONS = Registry("image operation")


class Draw(NamedTuple):
    """What an operation may use beside the image.

    rng: the only source of randomness, made from (seed, epoch, index), so that any number of workers draws the same.
    caption: text of the pair; empty where no operation of the pipeline needs it.
    """

    rng: np.random.Generator
    caption: str


# The first operation of a pipeline is given the encoded bytes, every other one an image.
ImageOperation = Callable[[Any, Draw], RgbImage]


class Traits(NamedTuple):
    """What a pipeline has to know about an operation.

    is_random: it draws from the generator; needs_caption: it reads the caption; decodes: it takes encoded bytes.
    """

    is_random: bool
    needs_caption: bool
    decodes: bool


_TRAITS: dict[str, Traits] = {}


def register_image_operation(
    name: str, *, is_random: bool = False, needs_caption: bool = False, decodes: bool = False
) -> Callable[[Builder], Builder]:
    """Decorator that registers a builder of image operations under a name.

    The builder takes the arguments that are written in the pipeline and returns a function
    ``(image: RgbImage, draw: Draw) -> RgbImage``. It refuses bad arguments with a ValueError.

    Args:
        name: as it is written in pipelines.
        is_random: the operation draws from ``draw.rng``; such operations are for training only.
        needs_caption: the operation reads ``draw.caption``.
        decodes: the operation comes first and takes encoded bytes in place of an image.

    Raises:
        ValueError: the name is taken.
    """

    def add(builder: Builder) -> Builder:
        IMAGE_OPERATIONS.register(name)(builder)
        _TRAITS[name] = Traits(is_random, needs_caption, decodes)
        return builder

    return add


def traits(name: str) -> Traits:
    """What was said about an operation when it was registered."""
    return _TRAITS[name]


def usage(name: str) -> str:
    """An operation as it may be written: its name, its arguments and their defaults.

    Raises:
        ValueError: unknown name; the message lists the choices.
    """
    signature = inspect.signature(IMAGE_OPERATIONS.get(name))
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return f"{name}{inspect.Signature(plain)}"


def usages() -> list[str]:
    """All operations as they may be written, sorted."""
    return [usage(name) for name in IMAGE_OPERATIONS.names()]
