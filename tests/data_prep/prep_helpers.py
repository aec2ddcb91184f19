"""Small sources to prepare, and ways to read a data-bin again."""

import json
import os
from pathlib import Path

import numpy as np
from fairseq.data.indexed_dataset import MMapIndexedDataset
from PIL import Image, ImageDraw

from mvlm_plugin.data.databin import images_path, pairs_path, text_prefix
from mvlm_plugin.data.image_index import ImageIndex
from mvlm_plugin.data.tokenizers import load_tokenizer

SHARED_DATA = Path(os.environ.get("MVLM_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))


def write_image(path: Path, number: int, mode: str = "RGB", **options: object) -> bytes:
    """A small picture that differs from number to number; returns the encoded bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (20 + number % 7, 16 + number % 5), (number * 37 % 256, 90, 160))
    ImageDraw.Draw(image).line((0, 0, 15, number % 16), fill="white")
    image.convert(mode).save(path, **options)
    return path.read_bytes()


class Source:
    """A tab-separated source in a folder: images/, captions.tsv, splits.tsv."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = folder / "images"
        self.images.mkdir(parents=True)
        self.captions: list[tuple[str, str]] = []
        self.splits: dict[str, str] = {}

    def add(self, name: str, split: str, captions: list[str]) -> Path:
        """Declare an image; returns the path where its file is expected."""
        self.captions += [(f"images/{name}", caption) for caption in captions]
        self.splits[f"images/{name}"] = split
        return self.images / name

    def write(self) -> list[str]:
        """Write the tables; returns the arguments of mvlm-prep tsv."""
        lines = "".join(f"{image}\t{caption}\n" for image, caption in self.captions)
        (self.folder / "captions.tsv").write_text(lines, encoding="utf-8")
        lines = "".join(f"{image}\t{split}\n" for image, split in self.splits.items())
        (self.folder / "splits.tsv").write_text(lines, encoding="utf-8")
        return [
            "tsv", "--captions", str(self.folder / "captions.tsv"), "--splits", str(self.folder / "splits.tsv"),
            "--images", str(self.folder), "--vocab-size", "60", "--workers", "1",
        ]  # fmt: skip


def rejections(databin: Path) -> list[dict[str, object]]:
    """The dropped records of a data-bin."""
    return [json.loads(line) for line in (databin / "rejected.jsonl").read_text().splitlines()]


def folder_bytes(folder: Path) -> dict[str, bytes]:
    """Content of every file of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def stored_images(databin: Path, split: str) -> list[bytes]:
    """Encoded bytes of every image of a split."""
    index = ImageIndex(images_path(databin, split))
    return [index.read(position) for position in range(len(index))]


def stored_tokens(databin: Path, split: str) -> list[list[int]]:
    """Token ids of every caption of a split."""
    dataset = MMapIndexedDataset(str(text_prefix(databin, split)))
    return [dataset[position].tolist() for position in range(len(dataset))]


def stored_pairs(databin: Path, split: str) -> list[tuple[bytes, str]]:
    """Image bytes and decoded text of every caption of a split."""
    tokenizer = load_tokenizer(databin)
    images, tokens = stored_images(databin, split), stored_tokens(databin, split)
    pairs = np.load(pairs_path(databin, split))
    assert len(pairs) == len(tokens)
    return [(images[image], tokenizer.decode(ids)) for image, ids in zip(pairs, tokens, strict=True)]
