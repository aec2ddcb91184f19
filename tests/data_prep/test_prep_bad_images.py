"""Images that are odd or broken: converted or rejected with a reason, and never a hang or a crash."""

import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from prep_helpers import Source, rejections, stored_images, write_image

from mvlm_plugin.data.databin import images_path
from mvlm_plugin.data.image_index import ImageIndex

BREAKS: dict[str, Callable[[Path], object]] = {
    "zero_byte.png": lambda path: path.write_bytes(b""),
    "text.png": lambda path: path.write_text("no image"),
    "truncated.png": lambda path: path.write_bytes(write_image(path, 3)[:-40]),
    "truncated.jpg": lambda path: path.write_bytes(write_image(path, 3)[:-150]),
    "corrupted.png": lambda path: path.write_bytes(write_image(path, 3)[:60] + b"\0" * 40),
    "huge.png": lambda path: path.write_bytes(png_header(60_000, 60_000)),
    "fifo.png": lambda path: os.mkfifo(path),
    "folder.png": lambda path: path.mkdir(),
    "missing.png": lambda path: None,
    "loop.png": lambda path: path.symlink_to(path.name),
    "dangling.png": lambda path: path.symlink_to("nowhere"),
    "device.png": lambda path: path.symlink_to("/dev/zero"),
    "script.eps": lambda path: path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
}
REASONS = {
    "zero_byte.png": "empty",
    "text.png": "formats",
    "truncated.png": "decoded",
    "truncated.jpg": "decoded",
    "corrupted.png": "decoded",
    "huge.png": "limit|many pixels",
    "fifo.png": "pipe",
    "folder.png": "folder",
    "missing.png": "no such file",
    "loop.png": "cannot be read",
    "dangling.png": "no such file",
    "device.png": "outside",
    "script.eps": "formats",
}


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("name", BREAKS)
def test_a_bad_image_is_rejected_with_its_captions(source: Source, prepare: Callable[..., Path], name: str) -> None:
    BREAKS[name](source.add(name, "train", ["first dog", "second dog"]))
    databin = prepare(source.write())
    entries = rejections(databin)
    assert [entry["caption"] for entry in entries] == ["first dog", "second dog"]
    assert [entry["line"] for entry in entries] == [21, 22]
    for entry in entries:
        assert entry["image"] == f"images/{name}"
        assert any(word in str(entry["reason"]) for word in REASONS[name].split("|")), entry
    assert len(stored_images(databin, "train")) == 8


@pytest.mark.parametrize("image", ["../secret.png", "images/../../secret.png", "ABSOLUTE", "images/link.png"])
def test_nothing_outside_the_images_folder_is_read(
    source: Source, tmp_path: Path, prepare: Callable[..., Path], image: str
) -> None:
    secret = write_image(tmp_path / "secret.png", 50)
    (source.images / "link.png").symlink_to(tmp_path / "secret.png")
    image = str(tmp_path / "secret.png") if image == "ABSOLUTE" else image
    source.captions.append((image, "a secret"))
    source.splits[image] = "train"
    databin = prepare(source.write())
    (entry,) = rejections(databin)
    assert "outside" in str(entry["reason"])
    assert secret not in stored_images(databin, "train")


def test_a_link_that_stays_inside_is_followed(source: Source, prepare: Callable[..., Path]) -> None:
    source.add("link.png", "train", ["a dog"]).symlink_to("0.png")
    databin = prepare(source.write())
    assert rejections(databin) == []
    assert stored_images(databin, "train")[-1] == (source.images / "0.png").read_bytes()


def test_unusual_modes_are_kept_as_they_are_and_counted(
    source: Source, prepare: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    modes = ("L", "RGBA", "1")
    stored = [write_image(source.add(f"mode_{mode}.png", "train", ["a dog"]), 30, mode) for mode in modes]
    stored.append(write_image(source.add("cmyk.jpg", "train", ["a dog"]), 31, "CMYK"))
    stored.append(write_image(source.add("palette.png", "train", ["a dog"]), 32, "P", transparency=0))
    deep = source.add("deep.png", "train", ["a dog"])
    Image.fromarray(np.arange(300, dtype=np.uint16).reshape(15, 20) * 200).save(deep)
    databin = prepare(source.write())
    assert rejections(databin) == []
    assert stored_images(databin, "train")[8:] == [*stored, deep.read_bytes()]
    counts = json.loads((databin / "manifest.json").read_text())["splits"]["train"]["image_modes"]
    assert counts == {"1": 1, "CMYK": 1, "I;16": 1, "L": 1, "P": 1, "RGB": 8, "RGBA": 1}
    assert "converted to RGB when read: 1 1, 1 CMYK, 1 I;16, 1 L, 1 P, 1 RGBA" in capsys.readouterr().out


def test_the_index_has_the_upright_size(source: Source, prepare: Callable[..., Path]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20), "red").save(source.add("turned.jpg", "train", ["a dog"]), exif=exif)
    record = ImageIndex(images_path(prepare(source.write()), "train")).record(8)
    assert (record.width, record.height) == (20, 30)


def test_max_pixels_is_a_limit(source: Source, prepare: Callable[..., Path]) -> None:
    Image.new("RGB", (100, 100)).save(source.add("big.png", "train", ["a dog"]))
    (entry,) = rejections(prepare(source.write(), "--max-pixels", "9999"))
    assert "limit of 9999" in str(entry["reason"])


def test_nothing_left_is_an_error_and_writes_nothing(
    source: Source, tmp_path: Path, prepare: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for path in source.images.iterdir():
        path.write_bytes(b"broken")
    databin = prepare(source.write(), status=2)
    assert not databin.exists()
    assert "bad image 20" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
