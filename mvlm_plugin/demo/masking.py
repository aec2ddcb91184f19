"""What a user hides of a photo or of a caption, and the photo with it filled in."""

import re

import numpy as np
from PIL import Image

# A patch is hidden where this share of it was painted: a stroke that only touches a patch does not hide it.
PAINTED_SHARE = 0.15
MASK = "[MASK]"
# Diagonal stripes, pixels and grey levels: a pattern that no photo is mistaken for.
_STRIPE, _DARK, _LIGHT = 12, 90, 150


def painted(layers: list[Image.Image], size: tuple[int, int]) -> np.ndarray:
    """What was painted: (H, W) bool.

    Args:
        layers: RGBA drawings over a photo; what is not transparent is painted.
        size: width and height of the photo; layers of another size are stretched to it.
    """
    mask = np.zeros((size[1], size[0]), dtype=bool)
    for layer in layers:
        alpha = layer.convert("RGBA").getchannel("A").resize(size, Image.Resampling.NEAREST)
        mask |= np.asarray(alpha) > 0
    return mask


def patches_of(mask: np.ndarray, grid: int) -> np.ndarray:
    """(H, W) bool pixels -> (grid, grid) bool patches, True where at least PAINTED_SHARE of the patch is True."""
    share = Image.fromarray(mask.astype(np.float32)).resize((grid, grid), Image.Resampling.BOX)
    return np.asarray(share) >= PAINTED_SHARE


def random_patches(grid: int, rng: np.random.Generator) -> np.ndarray:
    """(grid, grid) bool, half of the patches True."""
    chosen = np.zeros(grid * grid, dtype=bool)
    chosen[rng.permutation(grid * grid)[: max(1, grid * grid // 2)]] = True
    return chosen.reshape(grid, grid)


def pixels_of(patches: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(grid, grid) bool patches -> (H, W) bool pixels of a photo of that width and height."""
    return np.asarray(Image.fromarray(patches).resize(size, Image.Resampling.NEAREST))


def fill(photo: Image.Image, patches: np.ndarray, content: Image.Image) -> Image.Image:
    """The photo with other content, stretched to its size, in some patches; every other pixel is as it was."""
    hidden = Image.fromarray(pixels_of(patches, photo.size))
    return Image.composite(content.resize(photo.size, Image.Resampling.BICUBIC), photo, hidden)


def hide(photo: Image.Image, patches: np.ndarray) -> Image.Image:
    """The photo with stripes in some patches."""
    diagonal = np.arange(photo.height)[:, None] + np.arange(photo.width)
    stripes = np.where(diagonal % _STRIPE < _STRIPE // 3, _DARK, _LIGHT).astype(np.uint8)
    return fill(photo, patches, Image.fromarray(stripes).convert("RGB"))


def difference(truth: Image.Image, rebuilt: Image.Image, patches: np.ndarray) -> float:
    """Mean distance (L1) of two RGB photos of one size inside some patches, in grey levels from 0 to 255."""
    inside = pixels_of(patches, truth.size)
    return float(np.abs(np.asarray(truth, dtype=np.float32) - np.asarray(rebuilt, dtype=np.float32))[inside].mean())


def mask_longest_word(caption: str) -> str:
    """The caption with its longest word masked: a noun or verb more often than not. Unchanged without a word."""
    words = list(re.finditer(r"\w+", caption))
    if not words:
        return caption
    longest = max(words, key=lambda word: len(word[0]))
    return caption[: longest.start()] + MASK + caption[longest.end() :]
