"""Webdataset archives for tests, and their samples."""

import argparse
import json
from pathlib import Path
from typing import Any

from reading_helpers import read_all, tar_bytes

from data_prep.records import Sample
from data_prep.sources.base import ArchiveSource
from data_prep.sources.webdataset import COMMAND
from data_prep.sources.webdataset_samples import SampleOptions, read_archive

JPG = b"\xff\xd8\xff not decoded here"


def read(path: Path | str, split: str = "train", **options: Any) -> tuple[list[Sample], list[dict[str, Any]]]:
    folder = path.parent if isinstance(path, Path) else Path(options.pop("scratch"))
    return read_all(lambda log: read_archive(str(path), split, log, SampleOptions(**options)), folder)


def read_members(
    folder: Path, members: list[tuple[str, bytes]], **options: Any
) -> tuple[list[Sample], list[dict[str, Any]]]:
    path = folder / "a.tar"
    path.write_bytes(tar_bytes(members))
    return read(path, **options)


def img2dataset_members(count: int) -> list[tuple[str, bytes]]:
    """Members as img2dataset writes them."""
    members = []
    for number in range(count):
        key, caption = f"{number:09d}", f"a dog, number {number}\nof many"
        meta = {
            "url": f"https://x.org/{number}.jpg", "caption": caption, "key": key, "status": "success",
            "error_message": None, "width": 256, "height": 192, "original_width": 640, "original_height": 480,
            "exif": "{}", "sha256": "0" * 64, "clip": 0.25 + number, "set": ["train", "val"][number % 2],
        }  # fmt: skip
        image = JPG + bytes([number])
        members += [(f"{key}.jpg", image), (f"{key}.json", json.dumps(meta, indent=4).encode())]
        members.append((f"{key}.txt", caption.encode()))
    return members


def build(*arguments: str) -> ArchiveSource:
    parser = argparse.ArgumentParser()
    COMMAND.add_options(parser)
    source = COMMAND.build(parser.parse_args(arguments))
    assert isinstance(source, ArchiveSource)
    return source
