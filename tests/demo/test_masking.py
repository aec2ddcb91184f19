"""What a brush hides, and that nothing else of a photo changes."""

import numpy as np
import pytest
from PIL import Image

from mvlm_plugin.demo.masking import (
    difference,
    fill,
    hide,
    mask_longest_word,
    painted,
    patches_of,
    pixels_of,
    random_patches,
)


def drawing(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    layer = Image.new("RGBA", size, (0, 0, 0, 0))
    layer.paste((230, 0, 120, 255), box)
    return layer


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_layers_of_another_size_are_stretched_and_joined() -> None:
    layers = [drawing((80, 40), (0, 0, 20, 40)), drawing((160, 80), (120, 0, 160, 80))]
    mask = painted(layers, (40, 20))
    expected = np.zeros((20, 40), dtype=bool)
    expected[:, :10] = expected[:, 30:] = True
    np.testing.assert_array_equal(mask, expected)


def test_nothing_painted_hides_nothing() -> None:
    assert not patches_of(painted([], (40, 20)), 4).any()
    assert not patches_of(painted([drawing((40, 20), (0, 0, 0, 0))], (40, 20)), 4).any()


def test_patches_are_hidden_where_enough_of_them_is_painted() -> None:
    mask = np.zeros((40, 80), dtype=bool)  # patches of 10 x 20 pixels
    mask[10:20, 20:40] = True  # the whole of (1, 1)
    mask[20:30, 40:44] = True  # a fifth of (2, 2)
    mask[30:40, 60:62] = True  # a tenth of (3, 3)
    expected = np.zeros((4, 4), dtype=bool)
    expected[1, 1] = expected[2, 2] = True
    np.testing.assert_array_equal(patches_of(mask, 4), expected)


def test_patches_and_pixels_are_inverse() -> None:
    patches = random_patches(6, np.random.default_rng(0))
    assert patches.sum() == 18
    np.testing.assert_array_equal(patches_of(pixels_of(patches, (120, 90)), 6), patches)


@pytest.mark.parametrize("size", [(64, 64), (100, 70), (33, 57)])
def test_only_hidden_patches_change(size: tuple[int, int]) -> None:
    photo, patches = noise(*size), np.zeros((4, 4), dtype=bool)
    patches[1:3, 2] = True
    inside = pixels_of(patches, size)
    for changed in (fill(photo, patches, Image.new("RGB", (32, 32), (1, 2, 3))), hide(photo, patches)):
        assert changed.size == photo.size
        differs = (np.asarray(changed) != np.asarray(photo)).any(axis=2)
        assert not differs[~inside].any()
        assert differs[inside].mean() > 0.95
    np.testing.assert_array_equal(
        np.asarray(fill(photo, patches, Image.new("RGB", (32, 32), (1, 2, 3))))[inside][0], [1, 2, 3]
    )


def test_difference_is_that_inside() -> None:
    truth, other = Image.new("RGB", (40, 40), (100, 100, 100)), Image.new("RGB", (40, 40), (110, 90, 100))
    patches = np.zeros((4, 4), dtype=bool)
    patches[0, 0] = True
    assert difference(truth, other, patches) == pytest.approx(20 / 3)
    assert difference(truth, fill(truth, ~patches, other), patches) == 0


@pytest.mark.parametrize(
    ("caption", "masked"),
    [
        ("a brown dog runs .", "a [MASK] dog runs ."),
        ("two dogs", "two [MASK]"),
        (" . ", " . "),
        ("", ""),
        ("ein Bär schläft", "ein Bär [MASK]"),
    ],
)
def test_the_longest_word_is_masked(caption: str, masked: str) -> None:
    assert mask_longest_word(caption) == masked
