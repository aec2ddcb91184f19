"""Whether maps of words point at the objects that the words are said of: the pointing game (Zhang et al., 2016)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .pair_table import mean_and_error
from .scenes import KINDS, SceneFacts, SceneObject


class Mention(NamedTuple):
    """A word of a caption that says something of an object.

    place: number of the word in the caption; kind: of KINDS; owner: the object that it is said of; boxes: of all
    objects that the word is true of; objects: how many the picture has.
    """

    place: int
    kind: str
    owner: SceneObject
    boxes: list[tuple[float, float, float, float]]
    objects: int


class Judgement(NamedTuple):
    """How a map did for a mention.

    image: the picture's number; kind: of KINDS; hit: it points at an object that the word is true of; hit_owner: at the
    object that it is said of; hit_elsewhere: the map of the same word on another picture points there too; chance:
    share of patches that would be a hit; chance_owner: that would hit the owner; chance_object: share of objects
    that the word is true of, which is what pointing at any object of the picture would hit.
    """

    image: int
    kind: str
    hit: bool
    hit_owner: bool
    hit_elsewhere: bool
    chance: float
    chance_owner: float
    chance_object: float


def find_mentions(words: Sequence[str], scene: SceneFacts) -> list[Mention]:
    """Sizes, colours and shapes in a caption: wherever "size colour shape" of an object stand one after the other."""
    mentions = []
    for place in range(len(words) - len(KINDS) + 1):
        for item in scene.objects:
            if tuple(words[place : place + len(KINDS)]) == item[: len(KINDS)]:
                for offset, kind in enumerate(KINDS):
                    boxes = [other.box for other in scene.objects if other[offset] == item[offset]]
                    mentions.append(Mention(place + offset, kind, item, boxes, len(scene.objects)))
    return mentions


def patches_in(boxes: Sequence[tuple[float, float, float, float]], grid: int, side: float) -> Tensor:
    """(grid, grid) bool, True = patch whose centre lies in one of the boxes.

    Args:
        boxes: left, top, right, bottom in pixels; right and bottom are outside.
        grid: patches a side.
        side: pixels a side of the picture that the boxes are given in.
    """
    centres = (torch.arange(grid) + 0.5) * (side / grid)
    inside = torch.zeros(grid, grid, dtype=torch.bool)
    for left, top, right, bottom in boxes:
        rows, columns = (centres >= top) & (centres < bottom), (centres >= left) & (centres < right)
        inside |= rows[:, None] & columns[None, :]
    return inside


def judge(mention: Mention, own: Tensor, elsewhere: Tensor, image: int, side: float) -> Judgement:
    """Where the largest value of a word's map lies. A map that is zero, or not finite, everywhere points nowhere.

    Args:
        own: (G, G) map of the word on its picture.
        elsewhere: (G, G) map of the word, with the same caption, on another picture.
        image: number of the picture.
        side: pixels a side of the stored picture.
    """
    right = patches_in(mention.boxes, len(own), side)
    owner = patches_in([mention.owner.box], len(own), side)
    return Judgement(
        image,
        mention.kind,
        _points_into(own, right),
        _points_into(own, owner),
        _points_into(elsewhere, right),
        right.float().mean().item(),
        owner.float().mean().item(),
        len(mention.boxes) / mention.objects,
    )


def _points_into(values: Tensor, region: Tensor) -> bool:
    largest = values.argmax()
    return bool(values.flatten()[largest] > 0) and bool(region.flatten()[largest])


def pointing_figures(judgements: Sequence[Judgement]) -> dict[str, dict[str, float]]:
    """Shares of hits, over all mentions and by kind.

    Returns:
        For "all" and each kind: ``accuracy`` and its standard error ``accuracy_se`` (mentions of a picture belong
        together), ``owner``, ``other_picture``, ``chance``, ``chance_owner``, ``chance_object``, ``reachable`` (share
        of mentions that any patch would hit), ``words``.

    Raises:
        ValueError: no mentions.
    """
    if not judgements:
        raise ValueError("no caption says size, colour and shape of an object of its picture")
    figures = {}
    for name in ("all", *KINDS):
        rows = [row for row in judgements if name in ("all", row.kind)]
        if not rows:
            continue
        columns = {field: torch.tensor([getattr(row, field) for row in rows]).double() for field in rows[0]._fields[2:]}
        accuracy, error = mean_and_error(columns["hit"], torch.tensor([row.image for row in rows]))
        figures[name] = {
            "accuracy": accuracy,
            "accuracy_se": error,
            "owner": columns["hit_owner"].mean().item(),
            "other_picture": columns["hit_elsewhere"].mean().item(),
            "chance": columns["chance"].mean().item(),
            "chance_owner": columns["chance_owner"].mean().item(),
            "chance_object": columns["chance_object"].mean().item(),
            "reachable": (columns["chance"] > 0).double().mean().item(),
            "words": len(rows),
        }
    return figures
