"""The reader of folders with captions beside the images."""

import os
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from source_helpers import build, check_example, rows

from data_prep.records import PrepError
from data_prep.sources.base import TableSource
from data_prep.sources.folder import COMMAND


def fill(folder: Path, **files: str | bytes) -> Path:
    """Files by name; __ stands for /, and _ before the ending for its dot."""
    for name, content in files.items():
        stem, _, ending = name.replace("__", "/").rpartition("_")
        path = folder / f"{stem}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def test_captions_lie_beside_the_images(tmp_path: Path) -> None:
    folder = fill(
        tmp_path / "photos", b_jpg="", b_txt="\ufeffone\r\n\n two\n", a__2_PNG="", a__2_txt="three", a__10_webp="",
        a__10_txt="four", same_jpg="", same_png="", same_txt="five", notes_json="{}",
    )  # fmt: skip
    found, rejected = rows(COMMAND, tmp_path, "--images", f"val={folder}/")
    assert [(row.images[0], row.text, row.position, row.split) for row in found] == [
        ("b.jpg", "one", 1, "valid"), ("b.jpg", " two", 3, "valid"), ("same.jpg", "five", 1, "valid"),
        ("same.png", "five", 1, "valid"), ("a/10.webp", "four", 1, "valid"), ("a/2.PNG", "three", 1, "valid"),
    ]  # fmt: skip
    assert found[0].source == str(folder / "b.txt")
    assert rejected == []
    source = build(COMMAND, "--images", folder)
    assert isinstance(source, TableSource)
    assert source.images == str(folder)


def test_several_folders_have_one_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, x__train__a_jpg="", x__train__a_txt="one", x__val__b_jpg="", x__val__b_txt="two")
    monkeypatch.chdir(tmp_path)
    arguments = ["--images", "x/train", "--images", f"valid={tmp_path}/x/val"]
    found, _ = rows(COMMAND, tmp_path, *arguments)
    assert [(row.images[0], row.split) for row in found] == [("train/a.jpg", "train"), ("val/b.jpg", "valid")]
    assert build(COMMAND, *arguments).images == str(tmp_path / "x")  # type: ignore[union-attr]


def test_folders_can_name_the_splits(tmp_path: Path) -> None:
    folder = fill(tmp_path / "x", train__deep__a_jpg="", train__deep__a_txt="one", dev__b_jpg="", dev__b_txt="two",
                  c_jpg="", c_txt="three")  # fmt: skip
    fill(folder / "not a split", d_jpg="", d_txt="four")
    found, rejected = rows(COMMAND, tmp_path, "--images", folder, "--split-by-folder")
    assert [(row.images[0], row.split) for row in found] == [("dev/b.jpg", "valid"), ("train/deep/a.jpg", "train")]
    assert [entry["position"] for entry in rejected] == ["c.jpg", "not a split/d.jpg"]
    with pytest.raises(PrepError, match="leave SPLIT= out"):
        build(COMMAND, "--images", f"valid={folder}", "--split-by-folder")


def test_what_has_no_partner_or_is_damaged_is_listed(tmp_path: Path) -> None:
    folder = fill(
        tmp_path / "x", alone_jpg="", README_txt="x", big_jpg="", big_txt="x" * (2**20 + 1), bytes_jpg="",
        bytes_txt=b"a\xff", empty_jpg="", empty_txt=" \n\n", good_jpg="", good_txt="y" * 2**20,
    )  # fmt: skip
    (folder / "link.jpg").touch()
    (folder / "link.txt").symlink_to("nowhere")
    (folder / "pipe.jpg").touch()
    os.mkfifo(folder / "pipe.txt")
    with open(os.fsencode(folder) + b"/\xff.jpg", "wb"):
        pass
    (folder / "loop").symlink_to(".")
    found, rejected = rows(COMMAND, tmp_path, "--images", folder)
    assert [row.images[0] for row in found] == ["good.jpg"]
    assert [(entry["image"], entry["reason"]) for entry in rejected] == [
        (None, "the name is not UTF-8"),
        ("alone.jpg", "there is no alone.txt beside the image"),
        ("big.jpg", "larger than 1 MiB"),
        ("bytes.jpg", "not UTF-8: invalid start byte at byte 1"),
        ("empty.jpg", "the caption file is empty"),
        ("link.jpg", "No such file or directory"),
        ("pipe.jpg", "there is no pipe.txt beside the image"),
        (None, "there is no image of this name beside the captions"),
        (None, "the folder is one that it lies in"),
    ]


def test_a_store_is_walked(tmp_path: Path) -> None:
    for name, content in {"t/a.jpg": b"", "t/a.txt": b"one", "v/s/b.jpg": b"", "v/s/b.txt": b"two"}.items():
        with fsspec.open(f"memory://folder-test/{name}", "wb") as file:
            file.write(content)
    arguments = ["--images", "memory://folder-test/t/", "--images", "valid=memory://folder-test/v"]
    found, rejected = rows(COMMAND, tmp_path, *arguments)
    assert [(row.images[0], row.text, row.split, row.source) for row in found] == [
        ("t/a.jpg", "one", "train", "memory://folder-test/t/a.txt"),
        ("v/s/b.jpg", "two", "valid", "memory://folder-test/v/s/b.txt"),
    ]
    assert rejected == []
    assert build(COMMAND, *arguments).images == "memory://folder-test"  # type: ignore[union-attr]
    with pytest.raises(PrepError, match="different stores"):
        build(COMMAND, *arguments[:2], "--images", "s3://bucket/x")


def test_a_store_may_list_the_folder_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with fsspec.open("memory://marked/t/a.jpg", "wb"), fsspec.open("memory://marked/t/a.txt", "w") as file:
        file.write("one")
    listed = MemoryFileSystem.ls

    def with_marker(system: MemoryFileSystem, path: str, **options: object) -> list[dict]:
        return [{"name": f"{path}/", "type": "directory", "size": 0}, *listed(system, path, **options)]

    monkeypatch.setattr(MemoryFileSystem, "ls", with_marker)
    found, rejected = rows(COMMAND, tmp_path, "--images", "memory://marked")
    assert [row.images[0] for row in found] == ["t/a.jpg"]
    assert rejected == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        rows(COMMAND, tmp_path, "--images", tmp_path / "none")
    check_example(COMMAND)
