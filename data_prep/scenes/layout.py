"""Where the objects of a scene lie: no overlaps, and the relations are true of the boxes."""

import random
from typing import NamedTuple

OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}

# Extents in pixels of a picture of 64 pixels.
_BASE = 64
_EXTENTS = {"small": (11.0, 13.0), "large": (22.0, 26.0)}
_MARGIN = 2.0
_GAP = 3.0
# The centres of two objects beside each other differ less than a small object's extent: neither is above the other.
_OFFSET = 5.0

Box = tuple[int, int, int, int]


class Item(NamedTuple):
    """An object's words."""

    size: str
    colour: str
    shape: str


class Combination(NamedTuple):
    """What a scene shows.

    Attributes:
        items: two objects: the first is ``relation`` the second; or three, the last of which is ``third`` both.
        relation: "left of" or "above".
        third: the relation of the last of three objects, on the other axis; None for two objects.
        background: colour word.
    """

    items: tuple[Item, ...]
    relation: str
    third: str | None
    background: str

    def key(self) -> tuple[object, ...]:
        """Equal for scenes that show the same; the same three objects are not arranged in two ways."""
        if self.third is None:
            return self.items, self.relation, self.background
        return frozenset(self.items), self.background


class Scene(NamedTuple):
    """A picture and its caption.

    Attributes:
        items: two or three objects.
        boxes: left, top, right, bottom of each, in pixels.
        relations: (index, relation, index) of objects, all true of the boxes.
        background: colour word.
        caption: what the picture shows.
        image_size: height and width in pixels.
    """

    items: tuple[Item, ...]
    boxes: list[Box]
    relations: list[tuple[int, str, int]]
    background: str
    caption: str
    image_size: int


def _extent(item: Item, rng: random.Random) -> float:
    return rng.uniform(*_EXTENTS[item.size])


def _along(extents: tuple[float, float], rng: random.Random) -> tuple[float, float]:
    """Centres of two objects one after the other on an axis, the free space divided at random."""
    free = _BASE - 2 * _MARGIN - _GAP - sum(extents)
    before = rng.uniform(0.0, free)
    between = rng.uniform(0.0, free - before)
    first = _MARGIN + before + extents[0] / 2
    return first, first + extents[0] / 2 + _GAP + between + extents[1] / 2


def _inside(centre: float, extent: float) -> float:
    return min(max(centre, _MARGIN + extent / 2), _BASE - _MARGIN - extent / 2)


def _box(along: float, across: float, extent: float, horizontal: bool, image_size: int) -> Box:
    scale = image_size / _BASE
    x, y = (along, across) if horizontal else (across, along)
    side = max(1, round(extent * scale))
    left, top = round((x - extent / 2) * scale), round((y - extent / 2) * scale)
    return left, top, left + side, top + side


def place(combination: Combination, image_size: int, rng: random.Random) -> list[Box]:
    """Boxes of the objects: apart from each other, inside the picture, in the relations of the combination."""
    if combination.third is None:
        return _place_pair(combination, image_size, rng)
    return _place_triple(combination, combination.third, image_size, rng)


def _place_pair(combination: Combination, image_size: int, rng: random.Random) -> list[Box]:
    first, second = (_extent(item, rng) for item in combination.items)
    along = _along((first, second), rng)
    line = rng.uniform(20.0, _BASE - 20.0)
    horizontal = combination.relation == "left of"
    return [
        _box(centre, _inside(line + rng.uniform(-_OFFSET, _OFFSET), extent), extent, horizontal, image_size)
        for centre, extent in zip(along, (first, second), strict=True)
    ]


def _place_triple(combination: Combination, third: str, image_size: int, rng: random.Random) -> list[Box]:
    first, second, last = (_extent(item, rng) for item in combination.items)
    along = _along((first, second), rng)
    horizontal = combination.relation == "left of"
    row = max(first, second)
    if third in ("above", "left of"):
        third_line, pair_line = _along((last, row), rng)
    else:
        pair_line, third_line = _along((row, last), rng)
    middle = _inside((along[0] + along[1]) / 2 + rng.uniform(-3.0, 3.0), last)
    boxes = []
    for centre, extent in zip(along, (first, second), strict=True):
        slack = min(_OFFSET, (row - extent) / 2)
        boxes.append(_box(centre, pair_line + rng.uniform(-slack, slack), extent, horizontal, image_size))
    boxes.append(_box(middle, third_line, last, horizontal, image_size))
    return boxes
