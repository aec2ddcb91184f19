"""--image-store reference: nothing is copied, the same bytes are read, and what changed since is noticed."""

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from prep_helpers import (
    Source,
    add_member,
    counts_of,
    folder_bytes,
    manifest_of,
    rejections,
    stored_pairs,
    write_image,
    write_many,
    write_tars,
)

from data_prep.cli import main
from mvlm_plugin.data.databin import DataBinError
from mvlm_plugin.data.image_index import ImageReadError
from mvlm_plugin.data.store import PairStore

SOURCES: dict[str, Callable[[Path], list[str]]] = {
    "tsv": lambda folder: [*write_many(folder), "--part-images", "7"],
    "webdataset": write_tars,
}
RunPrepare = Callable[..., Path]


@pytest.mark.parametrize("kind", SOURCES)
def test_nothing_is_copied_and_training_reads_the_same(tmp_path: Path, prepare: RunPrepare, kind: str) -> None:
    arguments = SOURCES[kind](tmp_path / "raw")
    packed = prepare(arguments, name="packed")
    databin = prepare(arguments, "--image-store", "reference", "--workers", "2")
    assert list(databin.rglob("*images*.bin")) == []
    assert manifest_of(databin)["image_store"] == "reference"
    root = manifest_of(databin)["image_root"]
    assert root == str((tmp_path / "raw").resolve())
    for split in ("train", "valid"):
        assert stored_pairs(databin, split) == stored_pairs(packed, split)
        store, copied = PairStore(databin, split), PairStore(packed, split)
        assert [store.images.read(i) for i in range(len(store.names))] == [
            copied.images.read(i) for i in range(len(copied.names))
        ]
        for number in range(store.images.containers):
            assert not os.path.isabs(store.images.container(number).name)
        for name in ("text.bin", "text.idx", "pairs.npy", "hashes.npy", "names.bin"):
            assert (databin / f"{split}.{name}").read_bytes() == (packed / f"{split}.{name}").read_bytes()
    assert manifest_of(databin)["splits"] == manifest_of(packed)["splits"]
    assert rejections(databin) == rejections(packed)
    assert main(["verify", str(databin), "--workers", "1"]) == 0


def flip(path: Path) -> None:
    """Change a byte and nothing else that shows."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[-30] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


CHANGES: dict[str, Callable[[Path], object]] = {
    "flipped": flip,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "touched": os.utime,
    "removed": os.unlink,
    "replaced by a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("change", CHANGES)
def test_a_container_that_changed_is_named_when_the_data_bin_is_opened(
    tmp_path: Path, prepare: RunPrepare, kind: str, change: str
) -> None:
    databin = prepare(SOURCES[kind](tmp_path / "raw"), "--image-store", "reference")
    PairStore(databin, "train")
    path = tmp_path / "raw" / ("images/11.png" if kind == "tsv" else "002.tar")
    CHANGES[change](path)
    with pytest.raises(DataBinError, match=path.name) as error_info:
        PairStore(databin, "train")
    assert "prepare again" in str(error_info.value)
    PairStore(databin, "valid")
    assert main(["verify", str(databin), "--workers", "1"]) == 1


def test_a_byte_that_changed_unseen_is_found_when_the_image_is_read(tmp_path: Path, prepare: RunPrepare) -> None:
    databin = prepare(write_many(tmp_path / "raw"), "--image-store", "reference")
    path = tmp_path / "raw" / "images" / "0.png"
    status = path.stat()
    flip(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(ImageReadError, match="checksum differs"):
        PairStore(databin, "train").images.read(0)


def test_links_and_names_that_are_no_ascii(source: Source, prepare: RunPrepare) -> None:
    write_image(source.add("h\u00fcnd \u732b.png", "train", ["a dog"]), 40)
    source.add("link.png", "train", ["a linked dog"]).symlink_to("h\u00fcnd \u732b.png")
    databin = prepare(source.write(), "--image-store", "reference")
    data = (source.images / "h\u00fcnd \u732b.png").read_bytes()
    assert stored_pairs(databin, "train")[-2:] == [(data, "a dog"), (data, "a linked dog")]


def test_archives_of_several_folders(tmp_path: Path, prepare: RunPrepare) -> None:
    write_tars(tmp_path / "raw" / "one")
    write_tars(tmp_path / "raw" / "two", tars=2)
    arguments = [
        "webdataset", "--tars", str(tmp_path / "raw" / "one" / "*.tar"), "--tars", f"val={tmp_path}/raw/two/*.tar",
        "--vocab-size", "60", "--image-store", "reference",
    ]  # fmt: skip
    databin = prepare(arguments)
    assert manifest_of(databin)["image_root"] == str((tmp_path / "raw").resolve())
    assert len(PairStore(databin, "train").names) == 24
    assert len(PairStore(databin, "valid").names) == 6


@pytest.mark.parametrize("more", [["--max-side", "64"], ["--quality", "80"]])
def test_stored_anew_and_referred_to_exclude_each_other(
    source: Source, prepare: RunPrepare, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    assert not prepare(source.write(), "--image-store", "reference", *more, status=2).exists()
    assert "need --image-store packed" in capsys.readouterr().err


def test_what_has_no_place_cannot_be_referred_to(
    tmp_path: Path, prepare: RunPrepare, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "raw").mkdir()
    with tarfile.open(tmp_path / "raw" / "a.tar.gz", "w:gz") as archive:
        add_member(archive, "1.png", write_image(tmp_path / "image.png", 1))
        add_member(archive, "1.txt", b"a dog")
    arguments = ["webdataset", "--tars", str(tmp_path / "raw" / "a.tar.gz"), "--vocab-size", "20"]
    assert not prepare(arguments, "--image-store", "reference", status=2).exists()
    assert "uncompressed local tar files" in capsys.readouterr().err
    assert counts_of(prepare(arguments)) == {"train": 1}


def test_duplicates_are_left_out_of_the_index(source: Source, prepare: RunPrepare) -> None:
    write_image(source.add("again.png", "train", ["a dog again"]), 3)
    arguments = [*source.write(), "--image-store", "reference", "--duplicates", "merge"]
    databin = prepare(arguments)
    assert counts_of(databin) == {"train": 8, "valid": 2}
    assert stored_pairs(databin, "train")[-1] == ((source.images / "3.png").read_bytes(), "a dog again")
    before = folder_bytes(databin)
    (source.images / "again.png").unlink()
    assert stored_pairs(databin, "train")[-1][1] == "a dog again"
    assert folder_bytes(databin) == before
