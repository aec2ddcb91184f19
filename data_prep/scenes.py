"""Synthetic scenes: two or three shapes, and a caption that the picture explains word by word.

Every picture is decided by its combination (objects, relation, background), which occurs once in the whole set,
and by the seed, which draws positions, sizes and the phrasing.
"""

import json
import random
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from .destination import is_prepared
from .prepare import Options, write_databin
from .records import Caption, ImageJob, PrepError, RejectionLog, SourceImage
from .scene_drawing import BACKGROUNDS, COLOURS, SHAPES, load_scene
from .scene_layout import Combination, Item, Scene, place
from .scene_phrases import describe

MAX_PAIRS = 100_000
MAX_HELD_OUT = 500
_ITEMS = [Item(size, colour, shape) for size in ("small", "large") for colour in COLOURS for shape in SHAPES]
_BACKGROUNDS = list(BACKGROUNDS)
# Relations in canonical direction: "B right of A" is stored as "A left of B".
RELATIONS = ("left of", "above")


def draw_combinations(seed: int, count: int) -> list[Combination]:
    """Distinct combinations in random order, half of them with three objects.

    Raises:
        PrepError: there are not so many.
    """
    if count > MAX_PAIRS:
        raise PrepError(f"--pairs {count} is more than the {MAX_PAIRS} distinct scenes there are: ask for fewer")
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


def _write_scene_lines(folder: Path, splits: dict[str, Sequence[Scene]]) -> None:
    for split, scenes in splits.items():
        (folder / f"{split}.scenes.jsonl").write_text("".join(map(scene_line, scenes)), encoding="utf-8")


def prepare_scenes(pairs: int, seed: int, image_size: int, options: Options) -> dict[str, object] | None:
    """Draw scenes and write them as a data-bin, with ``SPLIT.scenes.jsonl`` beside the usual files.

    Returns:
        The manifest, or None where the destination already holds this.

    Raises:
        PrepError, DataBinError, OSError: preparation failed and nothing was written.
    """
    source = {"kind": "scenes", "pairs": pairs, "seed": seed, "image_size": image_size}
    request = {**source, **options.request()}
    if is_prepared(options.dest, request, options.overwrite):
        return None
    scenes = iter([compose(combination, seed, image_size) for combination in draw_combinations(seed, pairs)])
    log = RejectionLog("record")
    splits: dict[str, Sequence[Scene]] = {}
    jobs: list[ImageJob] = []
    for split, count in split_sizes(pairs).items():
        splits[split] = list(islice(scenes, count))
        for scene in splits[split]:
            captions = [Caption(scene.caption, "scenes", len(jobs))]
            jobs.append(ImageJob(SourceImage(f"scene {len(jobs)}", split, captions), scene))
    extra = partial(_write_scene_lines, splits=splits)
    return write_databin(jobs, partial(load_scene, max_pixels=options.max_pixels), source, request, log, options, extra)
