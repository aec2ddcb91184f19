"""Small sources to prepare, and ways to read a data-bin again."""

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

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
    """Content of every file of a folder and of the folders in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def manifest_of(databin: Path) -> dict[str, Any]:
    """What manifest.json says."""
    return json.loads((databin / "manifest.json").read_text(encoding="utf-8"))


def counts_of(databin: Path, what: str = "images") -> dict[str, int]:
    """Images or captions of each split, as the manifest has them."""
    return {split: entry[what] for split, entry in manifest_of(databin)["splits"].items()}


def stored_images(databin: Path, split: str) -> list[bytes]:
    """Encoded bytes of every image of a split."""
    manifest = manifest_of(databin)
    root = Path(manifest["image_root"]) if manifest["image_store"] == "reference" else None
    index = ImageIndex(images_path(databin, split), root)
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


def write_many(folder: Path, count: int = 40) -> list[str]:
    """A source with something wrong in every tenth row or image; returns the arguments of mvlm-prep tsv."""
    source = Source(folder)
    for number in range(count):
        split = "val" if number % 8 == 7 else "train"
        captions = [f"the dog number {number} runs to a red ball", f"a brown dog and ball {number}"]
        if number % 10 == 3:
            captions[1] = " \x07 "
        path = source.add(f"{number}.png", split, captions)
        write_image(path, number)
        if number % 10 == 5:
            path.write_bytes(path.read_bytes()[:50])
        if number % 10 == 9:
            path.unlink()
    return source.write()


def write_tars(folder: Path, tars: int = 8, samples: int = 5) -> list[str]:
    """Archives, the last of valid, each with a broken image and a sample without caption; arguments of mvlm-prep."""
    folder.mkdir(parents=True)
    for tar in range(tars):
        with tarfile.open(folder / f"{tar:03d}.tar", "w") as archive:
            for number in range(tar * samples, (tar + 1) * samples):
                data = write_image(folder / "image.png", number)
                add_member(archive, f"{number:05d}.png", data[:40] if number % samples == 1 else data)
                if number % samples != 3:
                    add_member(archive, f"{number:05d}.txt", f"a dog number {number}\nand a red ball".encode())
    return [
        "webdataset", "--tars", f"{folder}/{{000..{tars - 2:03d}}}.tar", "--tars", f"val={folder}/{tars - 1:03d}.tar",
        "--vocab-size", "60", "--workers", "1",
    ]  # fmt: skip


def add_member(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a file to an archive."""
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))
