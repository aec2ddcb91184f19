"""What a training run does about an image that cannot be read: another sample stands in for its own."""

import logging
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from .databin import DataBinError
from .image_index import ImageReadError
from .images import BadImageError

logger = logging.getLogger(__name__)

Read = TypeVar("Read")
# How many samples are tried before giving up.
_ATTEMPTS = 20


def read_or_replace(
    read: Callable[[int, int], Read], index: int, count: int, seed: int, describe: Callable[[int], str], split: str
) -> Read:
    """A sample, or another one chosen by its index alone, so that the same one stands in whatever the workers.

    Args:
        read: place of a sample, and how many were given up before it -> sample; raises ImageReadError or BadImageError.
        index: place of the sample that is asked for.
        count: samples that there are.
        seed: of the choice.
        describe: place of a sample -> how messages call it, e.g. "pair 3".
        split: name of the split, for messages.

    Raises:
        DataBinError: none of those that were tried can be read.
    """
    for attempt in range(_ATTEMPTS):
        place = int(index)
        if attempt:
            place = int(np.random.default_rng([seed, index, attempt]).integers(count))
        try:
            return read(place, attempt)
        except (ImageReadError, BadImageError) as error:
            logger.warning("%s of %s left out, another stands in: %s", describe(place), split, error)
    kind = describe(index).split()[0]
    raise DataBinError(f"no readable image among {_ATTEMPTS} {kind}s of split {split}; check it with mvlm-prep verify.")
