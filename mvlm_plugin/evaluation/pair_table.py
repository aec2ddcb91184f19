"""Whole-set figures of a validation run, gathered pair by pair, whatever the batches and ranks."""

import math

import torch
from torch import Tensor

from ..distributed import gather_rows, gather_sizes
from .pretraining import COLUMNS, GroupResult
from .retrieval import recalls
from .standard_error import clustered_error

FIGURES = (
    "mlm_loss",
    "mlm_acc",
    "mim_loss",
    "itc_loss",
    "itm_loss",
    "itm_acc",
    "i2t_r1",
    "i2t_r5",
    "i2t_r10",
    "t2i_r1",
    "t2i_r5",
    "t2i_r10",
    "mlm_gain",
    "mlm_gain_se",
    "mim_gain",
    "mim_gain_se",
)


def mean_and_error(values: Tensor, clusters: Tensor) -> tuple[float, float]:
    """Mean and its standard error, robust to values that belong together (captions of one image).

    With one value a cluster it is the usual standard error of a mean; see clustered_error().

    Args:
        values: (n,) float64.
        clusters: (n,) int64, equal for values that belong together.

    Returns:
        Mean and standard error; nan where there are too few values.
    """
    if values.numel() == 0:
        return math.nan, math.nan
    mean = values.mean()
    _, cluster = clusters.unique(return_inverse=True)
    sums = torch.zeros(int(cluster.max()) + 1, dtype=values.dtype).index_add_(0, cluster, values - mean)
    return mean.item(), clustered_error(sums) / values.numel()


class PairTable:
    """One row a pair of a split; rows may come in any order, from any rank, and more than once.

    Args:
        pairs: captions in the split.
        images: images in the split.
    """

    def __init__(self, pairs: int, images: int) -> None:
        self._shape = (pairs, images)
        self._figures = torch.zeros(pairs, len(COLUMNS), dtype=torch.float64)
        self._seen = torch.zeros(pairs, dtype=torch.bool)
        self._image_of_pair = torch.zeros(pairs, dtype=torch.int64)
        self._embeddings: tuple[Tensor, Tensor] | None = None
        self._result: dict[str, float] = {}

    @property
    def count(self) -> int:
        """Pairs seen so far."""
        return int(self._seen.sum())

    def add(self, result: GroupResult, pair_ids: Tensor, image_ids: Tensor) -> int:
        """Take in a group of every rank; all ranks call this together.

        Args:
            result: of this rank's group; it may have no rows.
            pair_ids, image_ids: (B,) int64.

        Returns:
            How many pairs were not seen before, over all ranks.
        """
        sizes = gather_sizes(pair_ids.size(0), pair_ids.device)
        figures, images, texts, pairs, image_ids = (
            gather_rows(part, sizes).cpu() for part in (*result, pair_ids, image_ids)
        )
        if self._embeddings is None:
            width = images.size(1)
            self._embeddings = torch.zeros(self._shape[1], width), torch.zeros(self._shape[0], width)
        before = self.count
        self._figures[pairs] = figures
        self._embeddings[0][image_ids] = images
        self._embeddings[1][pairs] = texts
        self._image_of_pair[pairs] = image_ids
        self._seen[pairs] = True
        self._result = {}
        return self.count - before

    def not_finite(self) -> list[int]:
        """Numbers of the pairs seen so far that have a loss or another figure that is not finite."""
        return (self._seen & ~self._figures.isfinite().all(dim=1)).nonzero().flatten().tolist()

    def result(self) -> dict[str, float]:
        """All FIGURES over the pairs seen so far.

        Raises:
            ValueError: no pair was seen.
        """
        if self._embeddings is None or not self.count:
            raise ValueError("no pair was evaluated")
        if not self._result:
            self._result = self._compute(*self._embeddings)
        return self._result

    def _compute(self, images: Tensor, texts: Tensor) -> dict[str, float]:
        figures = dict(zip(COLUMNS, self._figures[self._seen].T, strict=True))
        image_of_pair = self._image_of_pair[self._seen]
        used, image_of_text = image_of_pair.unique(return_inverse=True)
        result = {name: figures[name].mean().item() for name in ("mlm_loss", "mim_loss", "itc_loss")}
        result["mlm_acc"] = (figures["mlm_correct"].sum() / figures["mlm_masked"].sum()).item()
        result["itm_loss"] = (figures["itm_loss"].sum() / figures["itm_pairs"].sum()).item()
        result["itm_acc"] = (figures["itm_correct"].sum() / figures["itm_pairs"].sum()).item()
        result |= recalls(images[used], texts[self._seen], image_of_text)
        partnered = figures["has_partner"] > 0
        for name in ("mlm_gain", "mim_gain"):
            result[name], result[f"{name}_se"] = mean_and_error(figures[name][partnered], image_of_pair[partnered])
        return result
