"""Images that could not be read in training: they are listed, and too many of them end the run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..data.pair_list import PairList, append_pairs
from ..distributed import rank

# Fewer images than these count as these, so that a few bad ones do not end a run that has just begun.
LEAST_READ = 1000


class TooManyBadImagesError(RuntimeError):
    """More images than allowed could not be read."""


class BadImages:
    """Counts and lists the images that could not be read.

    Args:
        limit: share of all images read, from 0 to 1, above which the run ends.

    Raises:
        ValueError: a limit out of range.
    """

    def __init__(self, limit: float) -> None:
        if not 0.0 <= limit <= 1.0:
            raise ValueError(f"--max-bad-fraction {limit} must lie between 0 and 1")
        self._limit = limit
        self._bad = 0
        self._good: float | Tensor = 0.0

    def list(
        self, batches: Sequence[dict[str, Any]], find: Callable[[list[int]], list[PairList]], folder: Path
    ) -> None:
        """Append this rank's bad images to their file, with the reasons.

        Args:
            batches: of an update.
            find: numbers of pairs, as batches have them -> their data-bins.
            folder: --save-dir.
        """
        for pair, reason in (entry for batch in batches for entry in batch.get("bad", ())):
            append_pairs(self._path(folder), find([pair]), reason=reason)

    def count(self, bad: int, good: float | Tensor, folder: Path) -> None:
        """Count those of an update over all ranks; every rank is told the same, and all end together.

        Args:
            bad: images that could not be read.
            good: images that could; a tensor is not read before an image is bad.
            folder: --save-dir.

        Raises:
            TooManyBadImagesError: the share of the bad ones is above the limit.
        """
        self._good = self._good + good
        if not bad:
            return
        self._bad += bad
        read = self._bad + int(self._good)
        if self._bad > self._limit * max(read, LEAST_READ):
            raise TooManyBadImagesError(
                f"{self._bad} of {read} images could not be read, more than --max-bad-fraction {self._limit}: "
                f"{self._path(folder).with_name('bad_images.rank*.jsonl')} lists them with the reasons. Check the "
                "data-bin with mvlm-prep verify and prepare it again, or give a larger fraction."
            )

    @staticmethod
    def _path(folder: Path) -> Path:
        return folder / f"bad_images.rank{rank()}.jsonl"
