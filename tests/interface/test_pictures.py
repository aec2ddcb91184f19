"""Images in every form that load()'s models take."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mvlm_plugin.data.images import BadImageError
from mvlm_plugin.interface import VisionLanguageModel


def picture(width: int = 50, height: int = 40, seed: int = 0) -> Image.Image:
    """A smooth random picture."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def test_paths_pictures_and_arrays_give_the_same_pixels(model: VisionLanguageModel, tmp_path: Path) -> None:
    image = picture()
    image.save(tmp_path / "a.png")
    pixels = model.pixels([str(tmp_path / "a.png"), tmp_path / "a.png", image, np.asarray(image)])
    assert pixels.shape == (4, 3, 32, 32)
    assert pixels.dtype == torch.uint8
    expected = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    for row in pixels:
        assert np.array_equal(row, expected)
    for one in (tmp_path / "a.png", image, np.asarray(image), np.asarray(image)[None], iter([image])):
        assert torch.equal(model.pixels(one), pixels[:1])
    assert model.pixels([]).shape == (0, 3, 32, 32)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr", "I", "F"])
def test_any_colour_mode_becomes_rgb(model: VisionLanguageModel, mode: str) -> None:
    image = picture().convert("L" if mode in "IF" else "RGB").convert(mode)
    if mode == "I":  # 16 bits
        image = image.point(lambda level: 256 * level)
    assert model.pixels(image).float().std() > 10


def test_grey_arrays_are_grey_pictures(model: VisionLanguageModel) -> None:
    grey = np.asarray(picture().convert("L"))
    assert torch.equal(model.pixels(grey), model.pixels(np.stack([grey] * 3, axis=2)))


def test_pictures_are_turned_upright(model: VisionLanguageModel, tmp_path: Path) -> None:
    upright = picture()
    sideways = upright.transpose(Image.Transpose.ROTATE_90)
    sideways.getexif()[0x0112] = 6  # the top of the scene is at the right
    sideways.save(tmp_path / "a.png", exif=sideways.getexif())
    for image in (sideways, tmp_path / "a.png"):
        assert torch.equal(model.pixels(image), model.pixels(upright))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), r"\(255 \* array\)"),
        (np.zeros((4, 4, 4), np.uint8), "for RGBA"),
        (np.zeros((3, 4, 5), np.uint8), "transpose"),
        (np.zeros((0, 4, 3), np.uint8), "no image"),
        (np.zeros(4, np.uint8), "no image"),
    ],
)
def test_other_arrays_are_refused_with_what_to_do(model: VisionLanguageModel, image: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model.pixels([image])


@pytest.mark.parametrize("image", [torch.zeros(4, 4, 3, dtype=torch.uint8), 7, [None], [b"bytes"]])
def test_what_is_no_image_is_refused(model: VisionLanguageModel, image: object) -> None:
    with pytest.raises(TypeError, match="is no image: give a path"):
        model.encode_image(image)  # type: ignore[arg-type]


def test_a_bad_image_is_named(model: VisionLanguageModel, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff no picture")
    with pytest.raises(BadImageError, match=r"bad\.jpg: "):
        model.encode_image([picture(), tmp_path / "bad.jpg"])
    with pytest.raises(BadImageError, match=r"image 3: .*limit of 50000000"):
        model.encode_image([*[picture()] * 3, Image.new("1", (50_001, 1000))], batch_size=2)
    with pytest.raises(FileNotFoundError, match=r"none\.jpg"):
        model.encode_image(tmp_path / "none.jpg")
