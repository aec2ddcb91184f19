"""The reader of Visual Genome, on samples of its two files."""

import json
from pathlib import Path
from typing import Any

import pytest
from source_helpers import build, check_example, rows

from data_prep.records import PrepError
from data_prep.sources.visual_genome import COMMAND

URL = "https://cs.stanford.edu/people/rak248/"


def regions(image: int, *phrases: Any) -> dict[str, Any]:
    listed = [
        {"region_id": 1382 + n, "width": 82, "height": 139, "image_id": image, "phrase": phrase, "y": 57, "x": 421}
        for n, phrase in enumerate(phrases)
    ]
    return {"regions": listed, "id": image}


IMAGE_DATA = [
    {"width": 800, "url": f"{URL}VG_100K_2/1.jpg", "height": 600, "image_id": 1, "coco_id": None, "flickr_id": None},
    {"width": 9, "url": f"{URL}VG_100K/2317.jpg", "height": 9, "id": 2317, "coco_id": 391895, "flickr_id": 8119368305},
    {"width": 500, "url": None, "height": 333, "image_id": 5, "coco_id": None, "flickr_id": None},
]  # fmt: skip


def read(folder: Path, entries: list[Any], *arguments: object) -> tuple[list, list]:
    (folder / "region_descriptions.json").write_text(json.dumps(entries))
    (folder / "image_data.json").write_text(json.dumps(IMAGE_DATA))
    files = ["--regions", folder / "region_descriptions.json", "--image-data", folder / "image_data.json"]
    return rows(COMMAND, folder, *files, "--images", folder, *arguments)


def test_regions_are_captions_of_their_photo(tmp_path: Path) -> None:
    entries = [regions(2317, "a clock", "the man", "shade"), regions(1, "green tree")]
    found, rejected = read(tmp_path, entries)
    assert [(row.images[0], row.split, row.text, row.position, row.ids) for row in found] == [
        *(("VG_100K/2317.jpg", "train", text, 0, ("coco:391895", "flickr:8119368305"))
          for text in ("a clock", "the man", "shade")),
        ("VG_100K_2/1.jpg", "train", "green tree", 1, ()),
    ]  # fmt: skip
    assert [entry["position"] for entry in rejected] == [2]
    found, _ = read(tmp_path, entries, "--max-regions", "2", "--subset", "pretrain")
    assert [(row.text, row.split) for row in found] == [
        ("a clock", "pretrain"), ("the man", "pretrain"), ("green tree", "pretrain"),
    ]  # fmt: skip


def test_what_cannot_be_used_is_listed(tmp_path: Path) -> None:
    entries = [regions(1, "good", 7), regions(99, "a", "b"), regions(1), {"id": 1}, "text", regions(5, "no url")]
    found, rejected = read(tmp_path, entries)
    assert [row.text for row in found] == ["good"]
    assert [entry["position"] for entry in rejected] == [2, 0, 1, 2, 3, 4, 5]
    assert "no usable entry for image 99; its regions: 2" in rejected[2]["reason"]


def test_mistakes_are_explained(tmp_path: Path) -> None:
    with pytest.raises(PrepError, match=r"region_descriptions\.json"):
        read(tmp_path, [])
    with pytest.raises(SystemExit):
        build(COMMAND, "--regions", "r", "--image-data", "i", "--images", "x", "--max-regions", "0")
    check_example(COMMAND)
