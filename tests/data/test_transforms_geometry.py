import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from mvlm_plugin.data.images import BadImageError, RgbImage
from mvlm_plugin.data.transforms import Draw
from mvlm_plugin.data.transforms.geometry import (
    center_crop,
    decode,
    flip,
    random_box,
    random_resized_crop,
    random_stretched_crop,
    resize,
    resize_exact,
    resized,
    says_left_or_right,
    stretched_box,
)


def draw(seed: int = 0, caption: str = "") -> Draw:
    return Draw(np.random.default_rng(seed), caption)


def gradient(width: int, height: int) -> RgbImage:
    """Red grows to the right, green downwards, blue is noise; no overshoot is cut off when it is resized."""
    rng = np.random.default_rng(0)
    red, green = np.meshgrid(np.linspace(60, 200, width), np.linspace(60, 200, height))
    return RgbImage(np.stack([red, green, rng.integers(100, 150, (height, width))], axis=2).astype(np.uint8))


def as_pillow(image: RgbImage) -> RgbImage:
    """The same image, held as a Pillow image."""
    return RgbImage(image.pillow)


def difference(image: RgbImage, expected: Image.Image | np.ndarray) -> int:
    """Largest difference in levels."""
    assert image.array.shape == np.asarray(expected).shape
    return int(np.abs(image.array.astype(int) - np.asarray(expected).astype(int)).max())


def halves(width: int = 8, height: int = 8) -> RgbImage:
    """Left half red, right half blue."""
    image = Image.new("RGB", (width, height), (255, 0, 0))
    image.paste((0, 0, 255), (width // 2, 0, width, height))
    return RgbImage(image)


@pytest.mark.parametrize("hold", [lambda image: image, as_pillow], ids=["array", "Pillow"])
@pytest.mark.parametrize("target", [(32, 32), (100, 20), (300, 260), (1, 1)], ids=str)
@pytest.mark.parametrize("size", [(200, 150), (37, 91), (1, 1)], ids=str)
def test_resizing_is_pillows_within_rounding(
    size: tuple[int, int], target: tuple[int, int], hold: Callable[[RgbImage], RgbImage]
) -> None:
    image = gradient(*size)
    expected = image.pillow.resize(target, Image.Resampling.BICUBIC)
    enlarged = target[0] > size[0] and target[1] > size[1]
    assert difference(resized(hold(image), *target), expected) <= (2 if enlarged else 1)


def test_a_part_is_resized_as_if_it_were_the_whole_image() -> None:
    image = gradient(120, 90)
    box = (13, 7, 80, 60)
    part = image.pillow.crop((13, 7, 93, 67)).resize((32, 32), Image.Resampling.BICUBIC)
    for held in (image, as_pillow(image)):
        assert difference(resized(held.crop(*box), 32, 32), part) <= 1


def test_resize_exact_stretches_the_whole_image() -> None:
    image = gradient(50, 90)
    expected = image.pillow.resize((24, 24), Image.Resampling.BICUBIC)
    assert difference(resize_exact(24)(image, draw()), expected) == 0
    assert resize_exact(8)(halves(16, 4), draw()).array[0, [0, -1]].tolist() == [[255, 0, 0], [0, 0, 255]]


@pytest.mark.parametrize(("size", "expected"), [((200, 100), (64, 32)), ((100, 200), (32, 64)), ((31, 33), (32, 34))])
def test_resize_keeps_the_shape(size: tuple[int, int], expected: tuple[int, int]) -> None:
    image = resize(32)(gradient(*size), draw())
    assert (image.width, image.height) == expected


def test_thin_images_cannot_fill_the_memory() -> None:
    with pytest.raises(BadImageError, match="2000000 x 1 pixels: too long and thin"):
        resize(256)(RgbImage(np.zeros((1, 2_000_000, 3), dtype=np.uint8)), draw())


def test_center_crop_takes_the_middle() -> None:
    image = gradient(11, 8)
    assert np.array_equal(center_crop(4)(image, draw()).array, image.array[2:6, 3:7])
    with pytest.raises(BadImageError, match=r"11 x 8 pixels are too few for center_crop\(9\), put resize before it"):
        center_crop(9)(image, draw())


@pytest.mark.parametrize("size", [(640, 480), (1, 1), (3, 1000), (1000, 3)])
@pytest.mark.parametrize("scale", [(0.05, 1.0), (0.5, 0.5), (1.0, 1.0)])
def test_random_parts_lie_within_the_image(size: tuple[int, int], scale: tuple[float, float]) -> None:
    width, height = size
    for seed in range(200):
        left, top, across, down = random_box(width, height, scale, (3 / 4, 4 / 3), np.random.default_rng(seed))
        assert 0 <= left < left + across <= width
        assert 0 <= top < top + down <= height
        if size == (640, 480):
            assert 3 / 4 - 0.02 <= across / down <= 4 / 3 + 0.02
            if scale != (1.0, 1.0):  # the whole area fits in a few shapes only
                assert scale[0] - 0.01 <= across * down / (width * height) <= scale[1] + 0.01


def test_random_parts_vary_in_place_and_size() -> None:
    rng = np.random.default_rng(0)
    boxes = np.array([random_box(200, 200, (0.3, 1.0), (3 / 4, 4 / 3), rng) for _ in range(300)])
    ends = boxes[:, :2] + boxes[:, 2:]
    areas = boxes[:, 2] * boxes[:, 3] / 4e4
    assert boxes[:, :2].min() == 0
    assert ends.max() == 200
    assert areas.min() < 0.35
    assert areas.max() > 0.9
    assert areas.mean() == pytest.approx(0.63, abs=0.06)


def test_where_no_part_fits_it_is_the_largest_middle_one() -> None:
    box = random_box(1000, 30, (0.9, 1.0), (3 / 4, 4 / 3), np.random.default_rng(0))
    assert box == (480, 0, 40, 30)
    box = random_box(30, 1000, (0.9, 1.0), (3 / 4, 4 / 3), np.random.default_rng(0))
    assert box == (0, 480, 30, 40)


@pytest.mark.parametrize("hold", [lambda image: image, as_pillow], ids=["array", "Pillow"])
def test_a_random_resized_crop_shows_the_part_that_was_drawn(hold: Callable[[RgbImage], RgbImage]) -> None:
    image = gradient(160, 120)
    for seed in range(10):
        left, top, width, height = random_box(160, 120, (0.2, 0.6), (0.5, 2.0), np.random.default_rng(seed))
        part = image.pillow.crop((left, top, left + width, top + height)).resize((48, 48), Image.Resampling.BICUBIC)
        cropped = random_resized_crop(48, scale=(0.2, 0.6), ratio=(0.5, 2.0))(hold(image), draw(seed))
        assert difference(cropped, part) <= 1


def test_one_scale_is_the_smallest() -> None:
    image = gradient(160, 120)
    for seed in range(5):
        one, two = (random_resized_crop(16, scale)(image, draw(seed)) for scale in (0.4, (0.4, 1.0)))
        assert np.array_equal(one.array, two.array)


@pytest.mark.parametrize("size", [(640, 480), (1, 1), (3, 1000)])
@pytest.mark.parametrize("scale", [0.05, 0.5, 1.0])
def test_stretched_parts_lie_within_the_image_and_pillow_takes_them(size: tuple[int, int], scale: float) -> None:
    width, height = size
    for seed in range(100):
        left, top, right, bottom = stretched_box(width, height, scale, np.random.default_rng(seed))
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        # Area from scale to 1, and what cutting a long side off at the image's edge takes away.
        share = (right - left) * (bottom - top) / (width * height)
        assert scale * 3 / 4 <= share <= 1 + 1e-9
        aspect = ((right - left) / width) / ((bottom - top) / height)
        assert 3 / 4 - 1e-9 <= aspect <= 4 / 3 + 1e-9
    cropped = random_stretched_crop(8, scale)(RgbImage(Image.new("RGB", size)), draw())
    assert cropped.array.shape == (8, 8, 3)


def test_stretched_parts_vary_in_place_and_size() -> None:
    rng = np.random.default_rng(0)
    boxes = np.array([stretched_box(100, 100, 0.3, rng) for _ in range(300)])
    assert boxes[:, :2].min(axis=0) == pytest.approx(0, abs=5)
    assert boxes[:, 2:].max(axis=0) == pytest.approx(100, abs=5)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / 1e4
    assert areas.min() < 0.35
    assert areas.max() > 0.9


def test_a_stretched_crop_shows_the_part_that_was_drawn() -> None:
    image = gradient(160, 120)
    box = stretched_box(160, 120, 0.4, np.random.default_rng(5))
    expected = image.pillow.resize((48, 48), Image.Resampling.BICUBIC, box=box)
    assert difference(random_stretched_crop(48, 0.4)(image, draw(5)), expected) == 0


SIDES = ["left", "A man on the LEFT.", "the right-hand lane", "leftmost", "rightmost one", "turns right, then stops"]
SIDES += ["top-left corner", "bottomright", "a left-handed pitcher", "leftward arrow", "the dog's left", "(left)"]
NO_SIDES = ["", "a bright day", "an upright piano", "leftovers on a plate", "copyright notice", "a frightened cat"]
NO_SIDES += ["he is righteous", "cleft chin"]


@pytest.mark.parametrize("caption", SIDES)
def test_captions_that_say_left_or_right(caption: str) -> None:
    assert says_left_or_right(caption)


@pytest.mark.parametrize("caption", NO_SIDES)
def test_captions_that_only_look_like_it(caption: str) -> None:
    assert not says_left_or_right(caption)


def flipped(caption: str, p: float = 0.5) -> list[bool]:
    """Whether the image was mirrored, seed by seed."""
    results = [flip(p)(halves(), draw(seed, caption)).array for seed in range(200)]
    for pixels in results:
        assert pixels[0, 0].tolist() in ([255, 0, 0], [0, 0, 255])
        assert pixels[0, 0].tolist() != pixels[0, -1].tolist()
    return [pixels[0, 0, 2] == 255 for pixels in results]


def test_flip_mirrors_half_of_the_images() -> None:
    assert sum(flipped("a dog")) == pytest.approx(100, abs=25)
    assert sum(flipped("a dog", p=0.1)) == pytest.approx(20, abs=14)
    assert all(flipped("a dog", p=1.0))
    assert not any(flipped("a dog", p=0.0))


def test_flip_never_mirrors_where_the_caption_says_left_or_right() -> None:
    assert not any(flipped("a dog on the left", p=1.0))


def test_flip_draws_the_same_whatever_the_caption_says() -> None:
    draws = [draw(3, caption) for caption in ("a dog", "the left dog")]
    for one in draws:
        flip()(halves(), one)
    assert draws[0].rng.random() == draws[1].rng.random()


def test_decode_passes_its_limits_on() -> None:
    buffer = io.BytesIO()
    halves(30, 20).pillow.save(buffer, "PNG")
    assert decode(max_pixels=600)(buffer.getvalue(), draw()).width == 30
    with pytest.raises(BadImageError, match="more than the limit of 599"):
        decode(max_pixels=599)(buffer.getvalue(), draw())


def test_threads_do_not_change_the_pixels() -> None:
    image = gradient(400, 300)
    one = resized(image, 224, 224).array
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert np.array_equal(resized(image, 224, 224).array, one)
    finally:
        torch.set_num_threads(before)
