"""Pipelines of image operations: read from a string, checked before training starts, run on every image."""

import ast
import inspect
import io
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from ..images import BadImageError, RgbImage
from .operations import IMAGE_OPERATIONS, Draw, ImageOperation, Traits, traits, usage

# Widths and heights that a new pipeline is tried on.
_TRIAL_SIZES = ((48, 32), (32, 48), (701, 400), (5, 7))


def default_train_transform(crop_scale: float = 1.0) -> str:
    """The training pipeline where none is given: a random box of at least that share of the area, stretched."""
    if crop_scale < 1.0:
        return f"decode|random_stretched_crop({{size}}, scale={crop_scale!r})"
    return default_eval_transform()


def default_eval_transform() -> str:
    """The pipeline of held-out data where none is given: the whole image, stretched to a square."""
    return "decode|resize_exact({size})"


class _Step(NamedTuple):
    text: str
    traits: Traits
    apply: ImageOperation


class Pipeline:
    """Encoded image -> pixels of a fixed size.

    Args:
        text: operations joined by ``|``, each a name or a call with plain values, e.g.
            ``decode|random_resized_crop({size}, scale=0.5)|flip``; ``{size}`` stands for the image size.
        image_size: pixels a side that must come out.
        allow_random: whether random operations may be used.

    Raises:
        ValueError: not such a text; an unknown operation or a wrong argument; the pipeline does not end at that size.
    """

    def __init__(self, text: str, image_size: int, allow_random: bool = True) -> None:
        self.text = text
        self.image_size = image_size
        self._steps = _parse(text, image_size)
        self.needs_caption = any(step.traits.needs_caption for step in self._steps)
        for position, step in enumerate(self._steps):
            if step.traits.is_random and not allow_random:
                raise ValueError(f"image pipeline {text!r}: {step.text} is random, and held-out images must not vary")
            if step.traits.decodes != (position == 0):
                rule = "comes first, and only there" if position else "cannot come first: start with decode"
                raise ValueError(f"image pipeline {text!r}: {step.text} {rule}")
        self._try()

    def __call__(self, data: bytes, rng: np.random.Generator, caption: str = "") -> torch.Tensor:
        """Run the pipeline on an encoded image.

        Args:
            data: encoded bytes.
            rng: what random operations draw from.
            caption: text of the pair; needed where ``needs_caption``.

        Returns:
            Tensor of shape (3, image_size, image_size), uint8, contiguous.

        Raises:
            BadImageError: the bytes are no usable image.
        """
        return self.columns(data, 1, rng, caption)[0]

    def columns(self, data: bytes, count: int, rng: np.random.Generator, caption: str = "") -> torch.Tensor:
        """Run the pipeline on columns of equal width that an image is cut into after decoding.

        Args:
            data, rng, caption: as in a call; random operations draw anew for every column.
            count: number of columns.

        Returns:
            Tensor of shape (count, 3, image_size, image_size), uint8, contiguous; left to right.

        Raises:
            BadImageError: the bytes are no usable image, or one with fewer pixels in a row than columns.
        """
        draw = Draw(rng, caption)
        whole: Any = self._steps[0].apply(data, draw)
        if whole.width < count:
            raise BadImageError(f"an image of {whole.width} pixels a row cannot be cut into {count} columns")
        edges = [whole.width * column // count for column in range(count + 1)]
        done = []
        for left, right in pairwise(edges):
            image = whole if count == 1 else whole.crop(left, 0, right - left, whole.height)
            for step in self._steps[1:]:
                image = step.apply(image, draw)
            done.append(self._pixels(image))
        return torch.stack(done)

    def _pixels(self, image: RgbImage) -> torch.Tensor:
        if (image.width, image.height) != (self.image_size, self.image_size):
            raise ValueError(
                f"image pipeline {self.text!r} gives {image.width} x {image.height} pixels, the model takes "
                f"{self.image_size} x {self.image_size}; end it with an operation of that size, "
                "e.g. center_crop({size}), or set --image-size."
            )
        # (H, W, 3) -> (3, H, W)
        return torch.from_numpy(np.array(image.array.transpose(2, 0, 1), order="C"))

    def _try(self) -> None:
        """Run once on images of several shapes, so that what cannot work is told before training starts."""
        for size in _TRIAL_SIZES:
            buffer = io.BytesIO()
            Image.new("RGB", size, (120, 130, 140)).save(buffer, "PNG")
            draw = Draw(np.random.default_rng(0), "a caption")
            image: Any = buffer.getvalue()
            for step in self._steps:
                before = draw.rng.bit_generator.state
                try:
                    image = step.apply(image, draw)
                except BadImageError as error:
                    problem = f"fails on an image of {size[0]} x {size[1]} pixels: {error}"
                    raise ValueError(f"image pipeline {self.text!r} {problem}") from error
                problem = ""
                if not isinstance(image, RgbImage):
                    problem = f"returns a {type(image).__name__}, not an RgbImage"
                elif not step.traits.is_random and draw.rng.bit_generator.state != before:
                    problem = "draws random numbers; register it with is_random=True"
                if problem:
                    raise ValueError(f"image pipeline {self.text!r}: {step.text} {problem}")
            self._pixels(image)


def _parse(text: str, image_size: int) -> list[_Step]:
    """The operations of a pipeline, built."""
    try:
        node = ast.parse(text.replace("{size}", str(image_size)).strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(
            f"image pipeline {text!r} cannot be read ({error}); write operations like "
            "'decode|random_resized_crop({size}, scale=0.5)|flip'"
        ) from error
    calls: list[ast.expr] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        calls.insert(0, node.right)
        node = node.left
    return [_build(call, text) for call in [node, *calls]]


def _build(node: ast.expr, text: str) -> _Step:
    """One operation: a name, or a name called with plain values."""
    function = node.func if isinstance(node, ast.Call) else node
    if not isinstance(function, ast.Name):
        raise ValueError(f"image pipeline {text!r}: {ast.unparse(node)!r} is neither a name nor a call of one")
    name = function.id
    try:
        form = usage(name)
    except ValueError as error:
        raise ValueError(f"image pipeline {text!r}: {error}") from error
    builder = IMAGE_OPERATIONS.get(name)
    try:
        arguments, options = _values(node)
        inspect.signature(builder).bind(*arguments, **options)
        return _Step(ast.unparse(node), traits(name), builder(*arguments, **options))
    except (TypeError, ValueError) as error:
        raise ValueError(f"image pipeline {text!r}: {ast.unparse(node)}: {error}; it is written as {form}") from error


def _values(node: ast.expr) -> tuple[list[Any], dict[str, Any]]:
    """Positional and named arguments, literals only."""
    if not isinstance(node, ast.Call):
        return [], {}
    arguments = [_literal(argument) for argument in node.args]
    options = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            raise ValueError("** is not allowed")
        options[keyword.arg] = _literal(keyword.value)
    return arguments, options


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise ValueError(f"{ast.unparse(node)!r} is not a plain value (number, text, True, tuple)") from None
