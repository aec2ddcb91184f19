"""What a training run does about an image that cannot be read: another sample stands in for its own."""

import logging
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np

from .databin import DataBinError
from .image_index import ImageReadError
from .images import BadImageError

logger = logging.getLogger(__name__)

Read = TypeVar("Read")
# How many samples are tried before giving up.
_ATTEMPTS = 20


class BadPair(NamedTuple):
    """Number of a pair or text of a split whose image could not be read, and why."""

    pair: int
    reason: str


def read_or_replace(
    read: Callable[[int, tuple[BadPair, ...]], Read],
    index: int,
    count: int,
    seed: int,
    number: Callable[[int], int],
    kind: str,
    split: str,
) -> Read:
    """A sample, or another one chosen by its index alone, so that the same one stands in whatever the workers.

    Args:
        read: place of a sample, and those given up before it -> sample; raises ImageReadError or BadImageError.
        index: place of the sample that is asked for.
        count: samples that there are.
        seed: of the choice.
        number: place of a sample -> its number in the split.
        kind: what messages call it, e.g. "pair".
        split: name of the split, for messages.

    Raises:
        DataBinError: none of those that were tried can be read.
    """
    given_up: list[BadPair] = []
    for attempt in range(_ATTEMPTS):
        place = int(index)
        if attempt:
            place = int(np.random.default_rng([seed, index, attempt]).integers(count))
        try:
            return read(place, tuple(given_up))
        except (ImageReadError, BadImageError) as error:
            given_up.append(BadPair(number(place), str(error)))
            logger.warning("%s %d of %s left out, another stands in: %s", kind, number(place), split, error)
    raise DataBinError(f"no readable image among {_ATTEMPTS} {kind}s of split {split}; check it with mvlm-prep verify.")
