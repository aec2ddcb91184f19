"""A small folder with all that the documents speak of."""

import json
import shutil
from pathlib import Path

from PIL import Image

from tests.cli.commands import ROOT

COLOURS = ["red", "green", "blue", "white", "black", "orange", "purple", "yellow"]


def make_workplace(folder: Path, scenes: Path) -> None:
    """Put the plugin, the examples, scenes, own pairs, photos and a Flickr8k into a folder."""
    for name in ("mvlm_plugin", "examples"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(scenes, folder / "data-bin" / "scenes")
    (folder / "images").mkdir()
    names = [f"{number}.png" for number in range(24)]
    splits = ["train"] * 14 + ["valid"] * 5 + ["test"] * 5
    captions = [f"a {COLOURS[i % 8]} picture number {i}" for i in range(24)]
    for name, i in zip(names, range(24), strict=True):
        Image.new("RGB", (40, 30), COLOURS[i % 8]).save(folder / "images" / name)
    (folder / "photos").mkdir()
    for name, i in (("a", 0), ("b", 1), ("c", 2)):
        for path in (folder / f"{name}.jpg", folder / "photos" / f"{name}.jpg"):
            Image.new("RGB", (70, 50), COLOURS[i]).save(path)
    (folder / "captions.tsv").write_text("".join(f"{n}\t{c}\n" for n, c in zip(names, captions, strict=True)))
    (folder / "splits.tsv").write_text("".join(f"{n}\t{s}\n" for n, s in zip(names, splits, strict=True)))
    images = [
        {"filename": n, "split": s.replace("valid", "val"), "sentences": [{"raw": c}, {"raw": f"{c} again"}]}
        for n, s, c in zip(names, splits, captions, strict=True)
    ]
    (folder / "flickr8k").mkdir()
    (folder / "flickr8k" / "images").symlink_to(folder / "images")
    (folder / "flickr8k" / "dataset_flickr8k.json").write_text(json.dumps({"dataset": "small", "images": images}))
