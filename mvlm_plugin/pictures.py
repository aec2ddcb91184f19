"""Pictures for people to look at: cells of one size with titles, put together on a sheet."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

CELL = 160  # pixels a picture's side on a sheet
GAP = 12
LINE = 18  # height of a line of text
# Colours of a heat map from 0 to 1: the picture darkened, then red, then yellow.
_HEAT = np.array([(0, 0, 60), (150, 0, 70), (240, 60, 20), (255, 220, 40)], dtype=np.float32)
_SHARE = 0.6  # of the heat in the mixture with the picture


class Cell(NamedTuple):
    """A picture, and what stands above it."""

    title: str
    picture: Image.Image


def font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font of all sheets."""
    return ImageFont.load_default(size=14)


def to_picture(pixels: Tensor, side: int = CELL) -> Image.Image:
    """(3, S, S) uint8 -> a picture of side x side, its pixels as squares."""
    image = Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())
    return image.resize((side, side), Image.Resampling.NEAREST)


def heat_map(image: Image.Image, values: Tensor) -> Image.Image:
    """An image with a map laid over it: yellow where the map is largest, dark where it is zero.

    Args:
        image: RGB, of any size.
        values: (G, G) float, not negative; scaled so that the largest is 1. A map of zeros darkens the whole image.

    Returns:
        An image of the same size.
    """
    largest = values.max().clamp_min(torch.finfo(torch.float32).tiny)
    scaled = (values.float() / largest)[None, None]
    fine = F.interpolate(scaled, (image.height, image.width), mode="bilinear", align_corners=False)[0, 0]
    heat = fine.clamp(0, 1).cpu().numpy()
    steps = np.linspace(0, 1, len(_HEAT))
    coloured = np.stack([np.interp(heat, steps, _HEAT[:, channel]) for channel in range(3)], axis=-1)
    mixed = _SHARE * coloured + (1 - _SHARE) * np.asarray(image.convert("RGB"), dtype=np.float32)
    return Image.fromarray(mixed.round().astype(np.uint8))


def draw_cells(cells: Sequence[Cell], columns: int, footer: str = "") -> Image.Image:
    """Cells of one size row by row on a sheet, each under its title, and a line of text below.

    Args:
        cells: at least one.
        columns: cells a row at most.
    """
    columns = min(columns, len(cells))
    width, height = cells[0].picture.size
    rows = -(-len(cells) // columns)
    step = LINE + height + GAP
    size = (GAP + columns * (width + GAP), GAP + rows * step + (LINE if footer else 0))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for number, cell in enumerate(cells):
        left, top = GAP + number % columns * (width + GAP), GAP // 2 + number // columns * step
        draw.text((left, top), cell.title, fill="black", font=font())
        sheet.paste(cell.picture, (left, top + LINE))
    if footer:
        draw.text((GAP, size[1] - LINE - GAP // 2), footer, fill="black", font=font())
    return sheet
