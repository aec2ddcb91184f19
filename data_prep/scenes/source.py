"""Synthetic scenes: two or three shapes, and a caption that the picture explains word by word.

Every picture is decided by its combination (objects, relation, background), which occurs once in the whole set,
and by the seed, which draws positions, sizes and the phrasing.
"""

import json
import random
from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

from ..prepare import Options, prepare
from ..records import PrepError, RejectionLog, Sample
from ..sources.base import ArchiveSource
from .drawing import BACKGROUNDS, COLOURS, SHAPES, encode_scene
from .layout import Combination, Item, Scene, place
from .phrases import describe

MAX_PAIRS = 100_000
MAX_HELD_OUT = 500
# Scenes of a unit of work.
_UNIT = 500
_ITEMS = [Item(size, colour, shape) for size in ("small", "large") for colour in COLOURS for shape in SHAPES]
_BACKGROUNDS = list(BACKGROUNDS)
# Relations in canonical direction: "B right of A" is stored as "A left of B".
RELATIONS = ("left of", "above")


def draw_combinations(seed: int, count: int) -> list[Combination]:
    """Distinct combinations in random order, half of them with three objects; there are MAX_PAIRS."""
    rng = random.Random(seed)
    seen: set[tuple[object, ...]] = set()
    combinations: list[Combination] = []
    while len(combinations) < count:
        combination = _draw(rng, objects=2 + len(combinations) % 2)
        if combination.key() not in seen:
            seen.add(combination.key())
            combinations.append(combination)
    rng.shuffle(combinations)
    return combinations


def _draw(rng: random.Random, objects: int) -> Combination:
    items: list[Item] = []
    while len(items) < objects:
        item = rng.choice(_ITEMS)
        if all(item[1:] != other[1:] for other in items):
            items.append(item)
    relation = rng.choice(RELATIONS)
    third = None
    if objects == 3:
        third = rng.choice(("above", "below") if relation == "left of" else ("left of", "right of"))
    return Combination(tuple(items), relation, third, rng.choice(_BACKGROUNDS))


def compose(combination: Combination, seed: int, image_size: int) -> Scene:
    """Place the objects and word the caption; depends on nothing but the arguments."""
    rng = random.Random(f"{seed} {combination}")
    boxes = place(combination, image_size, rng)
    relations = [(0, combination.relation, 1)]
    if combination.third is not None:
        relations += [(2, combination.third, 0), (2, combination.third, 1)]
    return Scene(combination.items, boxes, relations, combination.background, describe(combination, rng), image_size)


def split_sizes(pairs: int) -> dict[str, int]:
    """Images of each split: an eighth each for valid and test, but no more than are needed to measure well."""
    held_out = min(pairs // 8, MAX_HELD_OUT)
    return {"train": pairs - 2 * held_out, "valid": held_out, "test": held_out}


def scene_line(scene: Scene) -> str:
    """One JSON line that tells what the picture shows; boxes are left, top, right, bottom in pixels."""
    objects = [{**item._asdict(), "box": list(box)} for item, box in zip(scene.items, scene.boxes, strict=True)]
    content = {"objects": objects, "relations": scene.relations, "background": scene.background}
    return json.dumps({**content, "caption": scene.caption}) + "\n"


@lru_cache(maxsize=1)
def _combinations(seed: int, pairs: int) -> list[Combination]:
    return draw_combinations(seed, pairs)


def read_scenes(path: str, split: str, log: RejectionLog, pairs: int, seed: int, image_size: int) -> Iterator[Sample]:
    """The scenes of a unit of work, whose path is ``first-end``."""
    first, end = map(int, path.split("-"))
    for number, combination in enumerate(_combinations(seed, pairs)[first:end], start=first):
        scene = compose(combination, seed, image_size)
        yield Sample(f"scene {number}", encode_scene(scene), None, split, (scene.caption,), number)


def scenes_source(pairs: int, seed: int, image_size: int) -> ArchiveSource:
    """Generated scenes as a source of units of work.

    Raises:
        PrepError: there are not so many.
    """
    if pairs > MAX_PAIRS:
        raise PrepError(f"--pairs {pairs} is more than the {MAX_PAIRS} distinct scenes there are: ask for fewer")
    units = []
    first = 0
    for split, count in split_sizes(pairs).items():
        for start in range(first, first + count, _UNIT):
            units.append((split, f"{start}-{min(start + _UNIT, first + count)}"))
        first += count
    read = partial(read_scenes, pairs=pairs, seed=seed, image_size=image_size)
    options = {"pairs": pairs, "seed": seed, "image_size": image_size}
    return ArchiveSource("scenes", units, read, options, can_reference=False, on_disk=False, position_name="record")


def write_scene_lines(folder: Path, pairs: int, seed: int, image_size: int) -> None:
    """Write ``SPLIT.scenes.jsonl``: what every picture of a split shows, in their order."""
    combinations = iter(draw_combinations(seed, pairs))
    for split, count in split_sizes(pairs).items():
        with open(folder / f"{split}.scenes.jsonl", "w", encoding="utf-8") as file:
            for combination in islice(combinations, count):
                file.write(scene_line(compose(combination, seed, image_size)))


def prepare_scenes(pairs: int, seed: int, image_size: int, options: Options) -> dict[str, Any] | None:
    """Draw scenes and write them as a data-bin, with ``SPLIT.scenes.jsonl`` beside the usual files.

    Returns:
        The manifest, or None where the destination already holds this.

    Raises:
        PrepError, DataBinError, OSError: preparation failed.
    """
    extra = partial(write_scene_lines, pairs=pairs, seed=seed, image_size=image_size)
    return prepare(scenes_source(pairs, seed, image_size), options, extra)
