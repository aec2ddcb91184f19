"""Generated scenes: deterministic, distinct, true to their captions."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageChops
from prep_helpers import folder_bytes, stored_images, stored_pairs

from data_prep.cli import main
from data_prep.records import PrepError
from data_prep.scenes.drawing import BACKGROUNDS, COLOURS, draw_scene
from data_prep.scenes.layout import Scene
from data_prep.scenes.source import compose, draw_combinations, scenes_source, split_sizes


def scenes(count: int, seed: int = 1, image_size: int = 64) -> list[Scene]:
    return [compose(combination, seed, image_size) for combination in draw_combinations(seed, count)]


def meaning(scene: dict) -> tuple:
    """What a scene shows, in one direction: right of and below are turned round."""
    words = [tuple(item[key] for key in ("size", "colour", "shape")) for item in scene["objects"]]
    if len(words) == 3:
        return frozenset(words), scene["background"]
    ((first, relation, second),) = scene["relations"]
    if relation in ("right of", "below"):
        first, second = second, first
        relation = {"right of": "left of", "below": "above"}[relation]
    return words[first], relation, words[second], scene["background"]


def test_same_seed_gives_the_same_bytes_with_any_number_of_workers(tmp_path: Path) -> None:
    for name, workers in (("a", "1"), ("b", "2")):
        assert main(["scenes", "--pairs", "80", "--workers", workers, "--dest", str(tmp_path / name)]) == 0
    assert folder_bytes(tmp_path / "a") == folder_bytes(tmp_path / "b")
    assert main(["scenes", "--pairs", "80", "--seed", "2", "--dest", str(tmp_path / "c")]) == 0
    assert (tmp_path / "a" / "train.images.bin").read_bytes() != (tmp_path / "c" / "train.images.bin").read_bytes()


def test_splits_share_no_combination(tmp_path: Path) -> None:
    assert main(["scenes", "--pairs", "800", "--dest", str(tmp_path / "bin")]) == 0
    meanings = []
    for split, count in {"train": 600, "valid": 100, "test": 100}.items():
        lines = (tmp_path / "bin" / f"{split}.scenes.jsonl").read_text().splitlines()
        pairs = stored_pairs(tmp_path / "bin", split)
        assert len(lines) == len(pairs) == count
        for line, (data, caption) in zip(lines, pairs, strict=True):
            scene = json.loads(line)
            assert caption == scene["caption"]
            assert Image.open(io.BytesIO(data)).size == (64, 64)
            meanings.append(meaning(scene))
    assert len(set(meanings)) == len(meanings) == 800


def test_twenty_thousand_combinations_are_distinct() -> None:
    combinations = draw_combinations(7, 20_000)
    assert len({combination.key() for combination in combinations}) == 20_000
    for combination in combinations[:2000]:
        assert len({item[1:] for item in combination.items}) == len(combination.items)


TRUE_OF = {
    "left of": lambda a, b: a[2] < b[0],
    "right of": lambda a, b: a[0] > b[2],
    "above": lambda a, b: a[3] < b[1],
    "below": lambda a, b: a[1] > b[3],
}


def told_relations(scene: Scene) -> list[tuple[int, str, int]]:
    """What a caption says about places, read with patterns of its own."""
    names = [f"a {item.size} {item.colour} {item.shape}" for item in scene.items]
    thing = "(" + "|".join(names) + ")"
    relation = "(" + "|".join(TRUE_OF) + ")"
    told = re.findall(f"(?={thing} (?:is )?{relation} {thing})", scene.caption)
    for name, word, first, second, inner in re.findall(
        f"{thing} {relation} both {thing} and {thing} {relation} it", scene.caption
    ):
        told += [(name, word, first), (name, word, second), (second, inner, first)]
    if not scene.caption.count(" it"):
        for name, word in re.findall(f"{thing} {relation} both", scene.caption):
            told += [(name, word, other) for other in names if other != name]
    return [(names.index(a), r, names.index(b)) for a, r, b in told]


def test_captions_tell_the_truth() -> None:
    for scene in scenes(1500):
        told = told_relations(scene)
        assert len(told) >= len(scene.items) - 1, scene.caption
        for first, relation, second in told:
            assert TRUE_OF[relation](scene.boxes[first], scene.boxes[second]), scene.caption


@pytest.mark.parametrize("image_size", [64, 128])
def test_boxes_are_inside_apart_and_in_the_relations_told(image_size: int) -> None:
    limits = {"small": (11, 13), "large": (22, 26)}
    for scene in scenes(1500, image_size=image_size):
        for item, (left, top, right, bottom) in zip(scene.items, scene.boxes, strict=True):
            assert min(left, top) >= 0
            assert max(right, bottom) <= image_size
            low, high = (limit * image_size // 64 for limit in limits[item.size])
            assert low <= right - left == bottom - top <= high
        for first, relation, second in scene.relations:
            assert TRUE_OF[relation](scene.boxes[first], scene.boxes[second]), scene
        if len(scene.items) == 2:
            (told,) = (relation for _, relation, _ in scene.relations)
            holds = [name for name, test in TRUE_OF.items() if test(scene.boxes[0], scene.boxes[1])]
            assert holds == [told]


def test_drawn_pixels_fill_the_boxes_with_the_colours_told() -> None:
    for scene in scenes(150):
        picture = draw_scene(scene)
        background = Image.new("RGB", picture.size, BACKGROUNDS[scene.background])
        drawn = ImageChops.difference(picture, background).convert("L").point(lambda level: 255 if level else 0)
        rest = drawn.copy()
        for item, box in zip(scene.items, scene.boxes, strict=True):
            assert drawn.crop(box).getbbox() == (0, 0, box[2] - box[0], box[3] - box[1]), item
            assert picture.getpixel(((box[0] + box[2]) // 2, (box[1] + box[3]) // 2)) == COLOURS[item.colour]
            rest.paste(0, box)
        assert rest.getbbox() is None


def test_captions_name_every_object_the_relations_and_the_background() -> None:
    openings = set()
    for scene in scenes(1000):
        for item in scene.items:
            assert f"a {item.size} {item.colour} {item.shape}" in scene.caption
        assert f"{scene.background} background" in scene.caption or f"background is {scene.background}" in scene.caption
        asked = {relation for _, relation, _ in scene.relations}
        opposites = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
        for relation in asked:
            assert relation in scene.caption or opposites[relation] in scene.caption
        assert len(scene.caption.split()) <= 22
        openings.add((len(scene.items), scene.caption.split()[0], len(scene.caption.split())))
    assert len(openings) >= 6


def test_scenes_with_the_same_words_differ_in_place() -> None:
    combination = draw_combinations(1, 1)[0]
    assert compose(combination, 1, 64).boxes != compose(combination, 2, 64).boxes
    assert compose(combination, 1, 64) == compose(combination, 1, 64)


def test_whole_words_are_tokens(tmp_path: Path, prepare: Callable[..., Path]) -> None:
    databin = prepare(["scenes", "--pairs", "800", "--workers", "1"])
    words = {word for _, text in stored_pairs(databin, "valid") for word in text.split()}
    entries = {line.split(" ")[0] for line in (databin / "dict.txt").read_text().splitlines()}
    assert {f"\u2581{word}" for word in words} <= entries


def test_limits() -> None:
    assert split_sizes(4000) == {"train": 3000, "valid": 500, "test": 500}
    assert sum(split_sizes(4003).values()) == 4003
    with pytest.raises(PrepError, match="ask for fewer"):
        scenes_source(100_001, 1, 64)


def test_every_picture_is_different(prepare: Callable[..., Path]) -> None:
    images = stored_images(prepare(["scenes", "--pairs", "160", "--workers", "1"]), "train")
    assert len(set(images)) == 120
