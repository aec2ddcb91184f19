import numpy as np
import pytest
from PIL import Image

from mvlm_plugin.data.images import RgbImage
from mvlm_plugin.data.transforms import Draw
from mvlm_plugin.data.transforms.augmentation import AUGMENTATIONS, randaugment

GREY = (128, 128, 128)


def photo() -> Image.Image:
    """Smooth colours from dark to light, 64 x 64."""
    red, green = np.meshgrid(np.linspace(20, 220, 64), np.linspace(40, 200, 64))
    blue = (red + green) / 2 + 20 * np.sin(red / 9)
    return Image.fromarray(np.stack([red, green, blue], axis=2).astype(np.uint8))


def augmented(seed: int, n: int = 2, magnitude: float = 7) -> np.ndarray:
    return randaugment(n, magnitude)(RgbImage(photo()), Draw(np.random.default_rng(seed), "")).array


def level(pixels: np.ndarray | Image.Image) -> np.ndarray:
    return np.asarray(pixels).astype(np.float64)


def test_the_list_is_albefs() -> None:
    geometry = {"ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"}
    assert set(AUGMENTATIONS) == {"Identity", "AutoContrast", "Equalize", "Brightness", "Sharpness"} | geometry


def test_pixels_change_about_as_often_as_they_should() -> None:
    original = np.asarray(photo())
    changed = sum(not np.array_equal(augmented(seed), original) for seed in range(200))
    # Two of ten changes are drawn, each applied half of the time; one of the ten does nothing.
    assert changed / 200 == pytest.approx(1 - 0.55**2, abs=0.12)


def test_equal_generators_give_equal_pixels() -> None:
    for seed in range(20):
        assert np.array_equal(augmented(seed), augmented(seed))


def test_every_change_is_used() -> None:
    results = {augmented(seed, n=1, magnitude=10).tobytes() for seed in range(400)}
    # Five with a direction, four without, and the image as it was.
    assert len(results) == 15


STRENGTHS = [(name, share) for name in AUGMENTATIONS for share in (0.3, 0.7, 1.0)]
STRENGTHS += [(name, -1.0) for name in ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")]


@pytest.mark.parametrize(("name", "share"), STRENGTHS)
def test_no_change_inverts_or_recolours(name: str, share: float) -> None:
    changed = level(AUGMENTATIONS[name](photo(), share))
    inside = ~(changed == GREY).all(axis=2)
    for channel in range(3):
        # A light pixel stays lighter than a dark one; turned pixels lie elsewhere, but not mirrored.
        assert np.corrcoef(changed[..., channel][inside], level(photo())[..., channel][inside])[0, 1] > 0.5


def test_strong_pipelines_never_invert() -> None:
    for seed in range(60):
        changed = augmented(seed, n=4, magnitude=10)
        inside = ~(changed == GREY).all(axis=2)
        assert np.corrcoef(changed[inside].ravel(), level(photo())[inside].ravel())[0, 1] > 0.1


def test_shifts_are_ten_pixels_at_most() -> None:
    original = np.asarray(photo())
    right = np.asarray(AUGMENTATIONS["TranslateX"](photo(), -1.0))
    assert np.array_equal(right[:, 10:], original[:, :-10])
    assert (right[:, :10] == GREY).all()
    up = np.asarray(AUGMENTATIONS["TranslateY"](photo(), 0.5))
    assert np.array_equal(up[:-5], original[5:])
    assert (up[-5:] == GREY).all()


def test_shears_and_turns_have_the_stated_size() -> None:
    mark = Image.new("RGB", (101, 101))
    mark.putpixel((50, 90), (255, 255, 255))
    sheared = np.asarray(AUGMENTATIONS["ShearX"](mark, 1.0))[..., 0].astype(float)
    inside = sheared * (sheared != 128)
    assert inside[90].argmax() == pytest.approx(50 - 0.3 * 90, abs=1)
    turned = np.asarray(AUGMENTATIONS["Rotate"](mark, 1.0))[..., 0].astype(float)
    turned[turned == 128] = 0
    row, column = np.unravel_index(turned[40:, 30:].argmax(), (61, 71))
    angle = np.degrees(np.arctan2(column + 30 - 50, row + 40 - 50))
    assert angle == pytest.approx(30, abs=3)


def test_brightness_and_contrast_go_the_right_way() -> None:
    original = level(photo())
    assert level(AUGMENTATIONS["Brightness"](photo(), 0.7)).mean() > 1.2 * original.mean()
    for name in ("AutoContrast", "Equalize"):
        changed = level(AUGMENTATIONS[name](photo(), 0.7))
        assert changed.min(axis=(0, 1)).max() <= 4
        assert changed.max(axis=(0, 1)).min() >= 251
    edges = [np.abs(np.diff(level(AUGMENTATIONS["Sharpness"](noisy(), share)), axis=1)).mean() for share in (0.1, 1.0)]
    assert edges[0] < edges[1]


def noisy() -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(np.clip(level(photo()) + rng.normal(scale=9, size=(64, 64, 3)), 0, 255).astype(np.uint8))


@pytest.mark.parametrize(("n", "magnitude"), [(0, 7), (1.5, 7), (2, -1), (2, 11)])
def test_bad_arguments_are_refused(n: int, magnitude: float) -> None:
    with pytest.raises(ValueError, match="must"):
        randaugment(n, magnitude)
