"""Pictures of a data-bin's training scenes again, with captions of one object each, as files for mvlm-prep tsv.

Captions of scenes name everything; prompts such as "a red circle" do not. Here every second picture shows the whole
scene, and the others one object of it alone; the caption names one object that is there, its size and the background
or not. Only scenes of the train split are drawn.

Usage: python short_captions.py DATABIN FOLDER
"""

import json
import random
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from data_prep.scenes.drawing import encode_scene
from data_prep.scenes.layout import Item, Scene
from mvlm_plugin.data.store import PairStore


def short_caption(item: Item, background: str, rng: random.Random) -> str:
    """One object in words; "a red circle" at the shortest."""
    size = f"{item.size} " if rng.random() < 0.5 else ""
    place = f" on a {background} background" if rng.random() < 0.5 else ""
    return f"a {size}{item.colour} {item.shape}{place}"


def draw(content: dict[str, Any], is_alone: bool, image_size: int, rng: random.Random) -> tuple[bytes, str]:
    """A picture (PNG) of a scene or of one object of it, and a caption."""
    chosen = rng.choice(content["objects"])
    shown = [chosen] if is_alone else content["objects"]
    items = tuple(Item(o["size"], o["colour"], o["shape"]) for o in shown)
    boxes = [tuple(o["box"]) for o in shown]
    named = Item(chosen["size"], chosen["colour"], chosen["shape"])
    caption = short_caption(named, content["background"], rng)
    return encode_scene(Scene(items, boxes, [], content["background"], caption, image_size)), caption


def main() -> int:
    databin, folder = map(Path, sys.argv[1:])
    image_size = PairStore(databin, "train").images.record(0).width
    rng = random.Random(1)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    with (
        open(databin / "train.scenes.jsonl", encoding="utf-8") as scenes,
        open(folder / "captions.tsv", "w", encoding="utf-8") as captions,
    ):
        for number, line in enumerate(tqdm(scenes, desc="drawing", unit="picture")):
            picture, caption = draw(json.loads(line), number % 2 == 1, image_size, rng)
            (folder / "images" / f"{number}.png").write_bytes(picture)
            captions.write(f"{number}.png\t{caption}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
