"""Training on a part of the data: the same images on every machine, and larger parts hold the smaller ones."""

import numpy as np

from .databin import DataBinError

# Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014: SplitMix64.
_INCREMENT = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def _mix(values: np.ndarray) -> np.ndarray:
    """(n,) uint64 -> (n,) uint64: a bijection that spreads every bit over all; modulo 2**64, as meant."""
    mixed = values + _INCREMENT
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _FACTORS[0]
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _FACTORS[1]
    return mixed ^ (mixed >> np.uint64(31))


def images_of_fraction(hashes: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """The images of a part: those whose content, mixed with the seed, gives the smallest keys.

    The choice depends on the images' bytes and the seed alone, not on the machine.

    Args:
        hashes: (images,) of type databin.HASH, at least one.
        fraction: above 0, at most 1; that share of the images is kept, rounded, and at least one.
        seed: another one gives another choice.

    Returns:
        (kept,) int64 numbers of the images, ascending.
    """
    kept = max(1, round(fraction * len(hashes)))
    content = hashes["content"]
    start = _mix(np.array([seed % 2**64], dtype=np.uint64))
    keys = _mix(_mix(start ^ content[:, 0]) ^ content[:, 1])
    limit = np.partition(keys, kept - 1)[kept - 1]
    below = np.flatnonzero(keys < limit)
    equal = np.flatnonzero(keys == limit)[: kept - len(below)]
    return np.sort(np.concatenate([below, equal]))


def captions_of_images(pairs: np.ndarray, kept: np.ndarray, images: int) -> np.ndarray:
    """The captions of some images; a text of several images belongs to its first.

    Args:
        pairs: (captions,) or (captions, K) caption -> image or images.
        kept: (kept,) numbers of images.
        images: number of all images.

    Returns:
        (n,) int64 numbers of the captions, ascending.

    Raises:
        DataBinError: a caption points outside the images, or none of the images has one.
    """
    first = pairs if pairs.ndim == 1 else pairs[:, 0]
    if first.min() < 0 or first.max() >= images:
        raise DataBinError(f"the pairs table points outside the {images} images; check it with mvlm-prep verify.")
    is_kept = np.zeros(images, dtype=bool)
    is_kept[kept] = True
    captions = np.flatnonzero(is_kept[first])
    if len(captions) == 0:
        raise DataBinError(f"none of the {len(kept)} images of this fraction has a caption; take a larger one.")
    return captions
