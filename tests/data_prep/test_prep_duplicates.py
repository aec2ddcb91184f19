"""--duplicates: images with the same bytes are kept, merged or dropped, and counted in any case."""

from collections.abc import Callable
from pathlib import Path

import pytest
from prep_helpers import Source, counts_of, manifest_of, rejections, stored_images, stored_pairs, write_image

from data_prep.cli import main

RunPrepare = Callable[..., Path]


@pytest.fixture
def doubled(source: Source) -> Source:
    """The ten images; 0 is three times in train, 1 also in valid and in test, 8 (of valid) also in train."""
    for name, split, number in [
        ("0 again.png", "train", 0),
        ("0 third.png", "train", 0),
        ("1 valid.png", "val", 1),
        ("1 test.png", "test", 1),
        ("8 train.png", "train", 8),
    ]:
        captions = [f"a caption of {name[0]} from {name[2:-4]}", "a dog"]
        path = source.add(name, split, captions)
        path.write_bytes((source.images / f"{number}.png").read_bytes())
    return source


def captions_of(databin: Path, split: str, data: bytes) -> list[str]:
    return [text for image, text in stored_pairs(databin, split) if image == data]


def duplicates(databin: Path) -> tuple[str, int, int]:
    entry = manifest_of(databin)["duplicates"]
    return entry["policy"], entry["images_within_a_split"], entry["images_across_splits"]


@pytest.mark.parametrize("part_images", ["1", "4", "100"])
def test_keep_stores_all_and_counts(
    doubled: Source, prepare: RunPrepare, capsys: pytest.CaptureFixture[str], part_images: str
) -> None:
    databin = prepare(doubled.write(), "--part-images", part_images)
    assert counts_of(databin) == {"test": 1, "train": 11, "valid": 3}
    # Across: 8 of train is in valid, 1 of train in test, and 1 of valid in test.
    assert duplicates(databin) == ("keep", 2, 3)
    assert rejections(databin) == []
    printed = capsys.readouterr()
    assert "images with the same bytes as another of their split: 2 (keep)" in printed.out
    assert "warning: 3 images are in more than one split" in printed.err
    first = (doubled.images / "0.png").read_bytes()
    assert stored_images(databin, "train").count(first) == 3
    assert len(captions_of(databin, "train", first)) == 6


@pytest.mark.parametrize("part_images", ["1", "4", "100"])
def test_merge_gives_one_image_the_captions_of_all(doubled: Source, prepare: RunPrepare, part_images: str) -> None:
    databin = prepare(doubled.write(), "--duplicates", "merge", "--part-images", part_images)
    assert counts_of(databin) == {"test": 1, "train": 9, "valid": 3}
    assert counts_of(databin, "captions") == {"test": 2, "train": 22, "valid": 6}
    assert duplicates(databin) == ("merge", 2, 3)
    assert rejections(databin) == []
    first = (doubled.images / "0.png").read_bytes()
    assert stored_images(databin, "train").count(first) == 1
    assert captions_of(databin, "train", first) == [
        "the dog number a runs to a red ball", "a brown dog and ball number a",
        "a caption of 0 from again", "a dog", "a caption of 0 from third", "a dog",
    ]  # fmt: skip
    assert main(["verify", str(databin), "--workers", "1"]) == 0


@pytest.mark.parametrize("part_images", ["1", "4", "100"])
def test_drop_keeps_the_first_and_held_out_before_train(
    doubled: Source, prepare: RunPrepare, capsys: pytest.CaptureFixture[str], part_images: str
) -> None:
    databin = prepare(doubled.write(), "--duplicates", "drop", "--part-images", part_images)
    printed = capsys.readouterr()
    assert "warning" not in printed.err
    assert "images with the same bytes as one of another split: 3 (drop)" in printed.out
    assert counts_of(databin) == {"test": 1, "train": 7, "valid": 2}
    assert duplicates(databin) == ("drop", 2, 3)
    for split, name in (("test", "1.png"), ("train", "0.png"), ("valid", "8.png")):
        assert stored_images(databin, split).count((doubled.images / name).read_bytes()) == 1
    everywhere = [data for split in ("train", "valid", "test") for data in stored_images(databin, split)]
    assert len(set(everywhere)) == len(everywhere)
    entries = rejections(databin)
    lines = {entry["line"]: entry["image"] for entry in entries}
    assert lines == {
        3: "images/1.png", 4: "images/1.png",
        21: "images/0 again.png", 22: "images/0 again.png", 23: "images/0 third.png", 24: "images/0 third.png",
        25: "images/1 valid.png", 26: "images/1 valid.png", 29: "images/8 train.png", 30: "images/8 train.png",
    }  # fmt: skip
    assert {entry["source"] for entry in entries} == {str(doubled.folder / "captions.tsv")}
    assert {entry["reason"] for entry in entries} == {"another image has the same bytes"}
    assert all(entry["caption"] for entry in entries)
    assert manifest_of(databin)["rejected"]["by_reason"] == {"duplicate image": 10}
    assert main(["verify", str(databin), "--workers", "1"]) == 0


def test_images_that_only_look_alike_are_no_duplicates(source: Source, prepare: RunPrepare) -> None:
    data = (source.images / "0.png").read_bytes()
    (source.add("longer.png", "train", ["a dog"])).write_bytes(data + b"\0")
    databin = prepare(source.write(), "--duplicates", "drop")
    assert counts_of(databin) == {"train": 9, "valid": 2}
    assert duplicates(databin) == ("drop", 0, 0)


def test_a_file_named_twice_is_one_image(source: Source, prepare: RunPrepare) -> None:
    source.captions.append(("images//0.png", "the same file"))
    source.splits["images//0.png"] = "train"
    databin = prepare(source.write(), "--duplicates", "keep")
    assert counts_of(databin) == {"train": 8, "valid": 2}
    assert duplicates(databin) == ("keep", 0, 0)


def test_a_link_to_an_image_has_its_bytes(source: Source, prepare: RunPrepare) -> None:
    source.add("link.png", "val", ["a dog"]).symlink_to("0.png")
    write_image(source.add("new.png", "val", ["a dog"]), 50)
    databin = prepare(source.write())
    assert duplicates(databin) == ("keep", 0, 1)
