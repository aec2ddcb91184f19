"""A picture of many small pictures: pairs side by side, each with a line of text above and names below."""

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from .looking import printable

THUMBNAIL = 160
_COLUMNS = 3
_MARGIN = 12
_LINE = 16
_CELL_WIDTH = 2 * THUMBNAIL + 4
_CELL_HEIGHT = THUMBNAIL + 3 * _LINE
_FONT_SIZE = 12


class Pair(NamedTuple):
    """Two pictures of at most THUMBNAIL pixels a side, None where one cannot be read, and the text around them."""

    left: Image.Image | None
    right: Image.Image | None
    title: str
    left_name: str
    right_name: str


def contact_sheet(pairs: Sequence[Pair]) -> Image.Image:
    """Draw pairs in three columns, in reading order."""
    columns = min(_COLUMNS, max(1, len(pairs)))
    rows = -(-len(pairs) // _COLUMNS)
    size = (columns * (_CELL_WIDTH + _MARGIN) + _MARGIN, max(1, rows) * (_CELL_HEIGHT + _MARGIN) + _MARGIN)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_FONT_SIZE)
    for number, pair in enumerate(pairs):
        left = _MARGIN + number % _COLUMNS * (_CELL_WIDTH + _MARGIN)
        top = _MARGIN + number // _COLUMNS * (_CELL_HEIGHT + _MARGIN)
        draw.text((left, top), _fitted(pair.title, draw, font), "black", font)
        for side, picture in enumerate((pair.left, pair.right)):
            _paste(sheet, draw, picture, left + side * (THUMBNAIL + 4), top + _LINE)
        draw.text((left, top + _LINE + THUMBNAIL), _fitted(pair.left_name, draw, font), "black", font)
        draw.text((left, top + 2 * _LINE + THUMBNAIL), _fitted(pair.right_name, draw, font), "black", font)
    return sheet


def _paste(sheet: Image.Image, draw: ImageDraw.ImageDraw, picture: Image.Image | None, left: int, top: int) -> None:
    box = (left, top, left + THUMBNAIL - 1, top + THUMBNAIL - 1)
    draw.rectangle(box, "gainsboro" if picture is None else "whitesmoke")
    if picture is None:
        draw.text((left + 8, top + THUMBNAIL // 2 - 8), "cannot be read", "black", ImageFont.load_default(_FONT_SIZE))
        return
    sheet.paste(picture, (left + (THUMBNAIL - picture.width) // 2, top + (THUMBNAIL - picture.height) // 2))


def _fitted(text: str, draw: ImageDraw.ImageDraw, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """Text on one line, its beginning cut off where it is too long: the ends of names differ."""
    text = printable(text)
    if draw.textlength(text, font) <= _CELL_WIDTH:
        return text
    while text and draw.textlength(f"...{text}", font) > _CELL_WIDTH:
        text = text[1:]
    return f"...{text}"
