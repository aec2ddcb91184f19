"""Which blocks of an image are masked."""

import math

import numpy as np


def masked_block_count(image_size: int, block_size: int, ratio: float) -> int:
    """How many blocks mask_blocks() masks in every image, given the same arguments."""
    total = math.ceil(image_size / block_size) ** 2
    return min(max(round(ratio * total), 1), total - 1)


def masked_patch_count(image_size: int, block_size: int, ratio: float, patch_size: int) -> int:
    """Patches of the blocks that mask_blocks() masks, at most all of an image; fewer are masked where blocks overhang.

    Args:
        image_size, block_size, ratio: as there.
        patch_size: pixels a patch side; divides block_size.
    """
    patches = masked_block_count(image_size, block_size, ratio) * (block_size // patch_size) ** 2
    return min(patches, (image_size // patch_size) ** 2)


def mask_blocks(image_size: int, block_size: int, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Choose aligned square blocks of an image, the same number in every image.

    Args:
        image_size: pixels a side.
        block_size: pixels a block side; the last row and column of blocks may overhang the image.
        ratio: share of blocks to mask, rounded to a whole number of blocks that is neither none nor all.
        rng: source of randomness.

    Returns:
        (R, R) bool with R = ceil(image_size / block_size), True = masked.
    """
    side = math.ceil(image_size / block_size)
    mask = np.zeros(side * side, dtype=bool)
    mask[rng.choice(side * side, masked_block_count(image_size, block_size, ratio), replace=False)] = True
    return mask.reshape(side, side)
