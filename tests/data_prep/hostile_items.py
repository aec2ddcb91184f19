"""What a hostile source is made of: records, each with an image, of which some are bad."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from hostile_images import encoded, picture

Make = Callable[[Path], object]
_DIGITS = ("nil", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass
class Item:
    """A record of a source and its image, or a whole archive.

    Attributes:
        kind: what is bad about it; "" for a good one.
        must: True: it has to be rejected; False: it has to be stored; None: either.
        number: of the record, of six digits: the names of its images hold it, and no others.
        name: of the image.
        text: the caption.
        data: content of the image file; a function makes something else in its place; None: there is no file.
        raw: the record instead of the one that name and text give: bytes by part of the source, or what its form takes.
        places: (source file, position) of the record, by which it may be listed as rejected; filled in by writing it.
        source: the file that is all the item's own.
        survivors: numbers of further images that have to be stored.
    """

    kind: str
    must: bool | None
    number: int
    name: str
    text: str
    data: bytes | Make | None = field(repr=False)
    raw: Any = field(default=None, repr=False)
    places: set[tuple[str, int | str]] = field(default_factory=set)
    source: str | None = None
    survivors: tuple[int, ...] = ()


FIRST_NUMBER = 100_000


def words(number: int) -> str:
    """A caption that tells the number in words of a small vocabulary."""
    return "a dog and " + " ".join(_DIGITS[int(digit)] for digit in str(number))


def good_item(number: int, name: Callable[[int], str]) -> Item:
    """A good record."""
    return Item("", False, number, name(number), words(number), encoded(picture(number), "PNG"))


def mixed(random: Random, bad: list[Item], good: Iterator[Item], between: int) -> list[Item]:
    """Bad items in order, each with good ones before it; good ones are the first and the last."""
    items: list[Item] = []
    for item in bad:
        items += [next(good) for _ in range(random.randint(1, between))]
        items.append(item)
    return [*items, next(good), next(good)]
