"""Draws a scene as PNG."""

import io
import math
from collections.abc import Callable

from PIL import Image, ImageDraw

from .layout import Box, Scene

COLOURS = {
    "red": (220, 30, 35),
    "green": (35, 160, 60),
    "blue": (45, 90, 240),
    "yellow": (250, 225, 40),
    "orange": (250, 140, 20),
    "purple": (145, 50, 185),
    "pink": (255, 135, 200),
    "cyan": (40, 215, 225),
}
BACKGROUNDS = {
    "white": (250, 250, 250),
    "black": (12, 12, 12),
    "gray": (125, 125, 125),
    "beige": (222, 205, 170),
    "navy": (18, 24, 66),
}
# Drawn so many times larger and averaged down, for smooth edges.
_OVERSAMPLING = 4

Point = tuple[float, float]


def _star() -> list[Point]:
    """Five-pointed star, stretched to fill the unit square."""
    angles = [math.pi * (i / 5 - 0.5) for i in range(10)]
    points = [((1.0, 0.42)[i % 2] * math.cos(a), (1.0, 0.42)[i % 2] * math.sin(a)) for i, a in enumerate(angles)]
    xs, ys = zip(*points, strict=True)
    return [((x - min(xs)) / (max(xs) - min(xs)), (y - min(ys)) / (max(ys) - min(ys))) for x, y in points]


def _cross() -> list[Point]:
    low, high = 0.33, 0.67
    return [
        (low, 0), (high, 0), (high, low), (1, low), (1, high), (high, high),
        (high, 1), (low, 1), (low, high), (0, high), (0, low), (low, low),
    ]  # fmt: skip


def _polygon(points: list[Point]) -> Callable[[ImageDraw.ImageDraw, Box, tuple[int, int, int]], None]:
    def draw(canvas: ImageDraw.ImageDraw, box: Box, colour: tuple[int, int, int]) -> None:
        left, top, right, bottom = box
        corners = [(left + x * (right - 1 - left), top + y * (bottom - 1 - top)) for x, y in points]
        canvas.polygon(corners, fill=colour)

    return draw


def _circle(canvas: ImageDraw.ImageDraw, box: Box, colour: tuple[int, int, int]) -> None:
    left, top, right, bottom = box
    canvas.ellipse((left, top, right - 1, bottom - 1), fill=colour)


# Each fills its box: it touches all four sides.
SHAPES: dict[str, Callable[[ImageDraw.ImageDraw, Box, tuple[int, int, int]], None]] = {
    "circle": _circle,
    "square": _polygon([(0, 0), (1, 0), (1, 1), (0, 1)]),
    "triangle": _polygon([(0.5, 0), (1, 1), (0, 1)]),
    "star": _polygon(_star()),
    "diamond": _polygon([(0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5)]),
    "cross": _polygon(_cross()),
}


def draw_scene(scene: Scene) -> Image.Image:
    """The picture of a scene, RGB, image_size pixels high and wide."""
    side = scene.image_size * _OVERSAMPLING
    image = Image.new("RGB", (side, side), BACKGROUNDS[scene.background])
    canvas = ImageDraw.Draw(image)
    for item, (left, top, right, bottom) in zip(scene.items, scene.boxes, strict=True):
        box = (left * _OVERSAMPLING, top * _OVERSAMPLING, right * _OVERSAMPLING, bottom * _OVERSAMPLING)
        SHAPES[item.shape](canvas, box, COLOURS[item.colour])
    return image.reduce(_OVERSAMPLING)


def encode_scene(scene: Scene) -> bytes:
    """Draw a scene as PNG."""
    buffer = io.BytesIO()
    draw_scene(scene).save(buffer, format="PNG")
    return buffer.getvalue()
