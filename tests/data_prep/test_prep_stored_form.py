"""--max-side, --quality and --max-pixels: what is stored, in which size, and what stays as it is."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from prep_helpers import Source, counts_of, manifest_of, rejections, stored_images

from data_prep.cli import main
from mvlm_plugin.data.databin import images_path
from mvlm_plugin.data.image_index import ImageIndex
from mvlm_plugin.data.store import PairStore

RunPrepare = Callable[..., Path]
# Name: size in pixels, format, EXIF orientation (6: turned by a quarter).
PICTURES: dict[str, tuple[tuple[int, int], str, int]] = {
    "wide.png": ((300, 100), "PNG", 1),
    "tall.jpg": ((90, 270), "JPEG", 1),
    "turned.jpg": ((240, 120), "JPEG", 6),
    "small.png": ((64, 40), "PNG", 1),
    "small.jpg": ((40, 64), "JPEG", 6),
    "clear.png": ((200, 100), "PNG", 1),
}


def picture(size: tuple[int, int], number: int) -> Image.Image:
    """Red above, blue below, and a green corner, so that turns show."""
    image = Image.new("RGB", size, (200, 10 * number, 20))
    image.paste((20, 10 * number, 200), (0, size[1] // 2, size[0], size[1]))
    image.paste((0, 220, 0), (0, 0, size[0] // 4, size[1] // 4))
    return image


@pytest.fixture
def pictures(source: Source) -> list[str]:
    """Arguments of mvlm-prep for the PICTURES alone."""
    source.captions.clear()
    for number, (name, (size, kind, orientation)) in enumerate(PICTURES.items()):
        image = picture(size, number)
        if name == "clear.png":
            image.putalpha(100)
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(
            source.add(name, "train", [f"a dog {name}", "a cat"]), kind, **({"exif": exif} if orientation > 1 else {})
        )
    return source.write()


def stored(databin: Path) -> dict[str, tuple[bytes, Image.Image]]:
    """Bytes and picture of each image, by name."""
    store = PairStore(databin, "train")
    found = {}
    for number in range(len(store.names)):
        data = store.images.read(number)
        image = Image.open(io.BytesIO(data))
        image.load()
        record = store.images.record(number)
        upright = image.size if image.getexif().get(0x0112, 1) == 1 else image.size[::-1]
        assert (record.width, record.height) == upright
        found[Path(store.names[number]).name] = (data, image)
    return found


def test_large_images_are_made_smaller_and_small_ones_stay(
    source: Source, pictures: list[str], prepare: RunPrepare
) -> None:
    found = stored(prepare(pictures, "--max-side", "64"))
    for name in ("small.png", "small.jpg"):
        assert found[name][0] == (source.images / name).read_bytes()
    sizes = {"wide.png": (64, 21), "tall.jpg": (21, 64), "turned.jpg": (32, 64), "clear.png": (64, 32)}
    for name, size in sizes.items():
        assert found[name][1].format == "JPEG"
        assert found[name][1].size == size
        assert found[name][1].mode == "RGB"
    # A quarter turn to the right brings the green corner to the upper right, and red to the right.
    turned = np.asarray(found["turned.jpg"][1])
    assert turned[2, -3, 1] > 150
    assert turned[50, -3, 0] > 150
    assert turned[50, 3, 2] > 150
    assert dict(found["turned.jpg"][1].getexif()) == {}
    # Where there is an alpha channel it is put on white, as training does it.
    assert np.asarray(found["clear.png"][1])[-3, -3].tolist() == pytest.approx([163, 175, 233], abs=6)


def test_quality_makes_every_image_a_jpeg_of_its_size(pictures: list[str], prepare: RunPrepare) -> None:
    found = stored(prepare(pictures, "--quality", "30"))
    for name, (size, _, orientation) in PICTURES.items():
        assert found[name][1].format == "JPEG"
        assert found[name][1].size == (size if orientation == 1 else size[::-1])


def test_quality_decides_the_size_in_bytes(pictures: list[str], prepare: RunPrepare) -> None:
    low = prepare(pictures, "--max-side", "100", "--quality", "10", name="low")
    high = prepare(pictures, "--max-side", "100", "--quality", "95", name="high")
    assert counts_of(low, "image_bytes")["train"] < 0.8 * counts_of(high, "image_bytes")["train"]
    assert all(image.size[0] <= 100 >= image.size[1] for _, image in stored(low).values())
    assert counts_of(low, "image_bytes")["train"] == sum(map(len, stored_images(low, "train")))


def test_hashes_are_those_of_the_source_and_duplicates_stay_so(
    source: Source, pictures: list[str], prepare: RunPrepare
) -> None:
    (source.add("again.png", "train", ["again"])).write_bytes((source.images / "wide.png").read_bytes())
    databin = prepare(source.write(), "--max-side", "32", "--duplicates", "drop")
    store = PairStore(databin, "train")
    assert len(store.names) == len(PICTURES)
    for number, name in enumerate(PICTURES):
        digest = hashlib.sha256((source.images / name).read_bytes()).digest()
        assert store.hashes[number]["content"].tobytes() == digest[:16]
    assert main(["verify", str(databin), "--workers", "1"]) == 0


def test_modes_are_those_of_the_source(pictures: list[str], prepare: RunPrepare) -> None:
    databin = prepare(pictures, "--max-side", "64")
    assert manifest_of(databin)["splits"]["train"]["image_modes"] == {"RGB": 5, "RGBA": 1}


def test_an_image_is_never_made_of_no_pixels(source: Source, prepare: RunPrepare) -> None:
    Image.new("RGB", (3000, 1)).save(source.add("line.png", "train", ["a line"]))
    databin = prepare(source.write(), "--max-side", "16")
    record = ImageIndex(images_path(databin, "train")).record(8)
    assert (record.width, record.height) == (16, 1)


def test_too_many_pixels_are_rejected_before_they_are_made_fewer(source: Source, prepare: RunPrepare) -> None:
    Image.new("RGB", (100, 100)).save(source.add("big.png", "train", ["a dog"]))
    Image.new("RGB", (99, 100)).save(source.add("just.png", "train", ["a dog"]))
    databin = prepare(source.write(), "--max-pixels", "9900", "--max-side", "8")
    (entry,) = rejections(databin)
    assert entry["image"] == "images/big.png"
    assert "limit of 9900" in str(entry["reason"])
    assert counts_of(databin) == {"train": 9, "valid": 2}


@pytest.mark.parametrize(
    "more", [["--quality", "0"], ["--quality", "101"], ["--max-side", "0"], ["--max-pixels", "999999999"]]
)
def test_impossible_values_are_told(pictures: list[str], capsys: pytest.CaptureFixture[str], more: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main([*pictures, *more, "--dest", "no"])
    assert exit_info.value.code == 2
    assert "must be" in capsys.readouterr().err
