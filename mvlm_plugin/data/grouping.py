"""Orders of texts in which those of the same images stand together, and exchanges of images between texts."""

import numpy as np

from .databin import DataBinError


def grouped_order(
    image_group: np.ndarray, texts_per_image: int, rng: np.random.Generator | None
) -> tuple[np.ndarray, np.ndarray]:
    """An order in which texts of the same images follow one another.

    Args:
        image_group: (n,) integers, equal for texts of the same images.
        texts_per_image: how many of them follow one another; 1 gives a plain random order.
        rng: which ones, and in what order the groups come; None: all that there are, in the order of the images.

    Returns:
        (n,) int64 order, and (n,) int64 for each text the number of its group among those of its images.
    """
    count = len(image_group)
    if rng is None:
        return np.argsort(image_group, kind="stable"), np.zeros(count, dtype=np.int64)
    shuffled = rng.permutation(count)
    by_image = shuffled[np.argsort(image_group[shuffled], kind="stable")]
    groups = image_group[by_image]
    starts = np.flatnonzero(np.diff(groups, prepend=groups[:1] - 1))
    place = np.arange(count) - np.repeat(starts, np.diff(starts, append=count))
    number = place // texts_per_image
    first = place % texts_per_image == 0
    # Every group gets a random rank; its texts share it.
    rank = rng.permutation(int(first.sum()))[np.cumsum(first) - 1]
    draws = np.empty(count, dtype=np.int64)
    draws[by_image] = number
    return by_image[np.argsort(rank, kind="stable")], draws


def other_texts(image_group: np.ndarray, seed: int) -> np.ndarray:
    """A random permutation that gives every text another one, of other images.

    Args:
        image_group: (n,) integers, equal for texts of the same images.
        seed: of the permutation.

    Returns:
        (n,) int64 permutation p with image_group[p[i]] != image_group[i] everywhere.

    Raises:
        DataBinError: more than half of the texts are of the same images.
    """
    count = len(image_group)
    most = int(np.unique(image_group, return_counts=True)[1].max())
    if 2 * most > count:
        raise DataBinError(
            f"--shuffled-images: {most} of {count} texts are of the same images, so that not every text can be given "
            "images of another one."
        )
    rng = np.random.default_rng(seed)
    other = rng.permutation(count)
    for text in np.flatnonzero(image_group[other] == image_group):
        group = image_group[text]
        if image_group[other[text]] != group:  # put right by an earlier exchange
            continue
        fitting = np.flatnonzero((image_group != group) & (image_group[other] != group))
        partner = rng.choice(fitting)
        other[text], other[partner] = other[partner], other[text]
    return other
