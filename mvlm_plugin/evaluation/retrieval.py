"""Recall@k of image-text retrieval: from embeddings, or from lists of candidates, with standard errors."""

from typing import NamedTuple

import torch
from torch import Tensor

from .standard_error import clustered_error

KS = (1, 5, 10)
# In place of the image of a caption whose image is not in the subset: no query, but in the way of others.
NO_IMAGE = -1
# Rank where nothing right is among the candidates.
NOT_FOUND = 2**62
# Rows of the similarity matrix that are held at a time.
_CHUNK = 1024


def text_to_image_ranks(images: Tensor, texts: Tensor, image_of_text: Tensor) -> Tensor:
    """For each text, how many images other than its own are at least as similar as its own.

    Args:
        images: (M, E); texts: (N, E); image_of_text: (N,) int64.

    Returns:
        (N,) int64; 0 = found first. A tie counts against the own image, so that equal vectors find nothing.
    """
    ranks = []
    for chunk, own in zip(texts.split(_CHUNK), image_of_text.split(_CHUNK), strict=True):
        similarity = chunk @ images.T
        ranks.append((similarity >= similarity.gather(1, own[:, None])).sum(dim=1) - 1)
    return torch.cat(ranks)


def image_to_text_ranks(images: Tensor, texts: Tensor, image_of_text: Tensor) -> Tensor:
    """For each image that has texts, how many texts of other images are at least as similar as its best own text.

    Args:
        images: (M, E); texts: (N, E); image_of_text: (N,) int64.

    Returns:
        (M',) int64 for the M' images with a text, in their order; 0 = an own text is found first.
    """
    ranks = []
    for first in range(0, images.size(0), _CHUNK):
        chunk = images[first : first + _CHUNK]
        rows = torch.arange(first, first + chunk.size(0), device=images.device)
        own = rows[:, None] == image_of_text[None, :]
        similarity = chunk @ texts.T
        best = similarity.masked_fill(~own, float("-inf")).amax(dim=1, keepdim=True)
        ranks.append(((similarity >= best) & ~own).sum(dim=1)[own.any(dim=1)])
    return torch.cat(ranks)


def recalls(images: Tensor, texts: Tensor, image_of_text: Tensor, ks: tuple[int, ...] = KS) -> dict[str, float]:
    """Recall@k both ways, from 0 to 1; any caption of an image counts as right.

    Args:
        images: (M, E); texts: (N, E) with N and M at least 1; image_of_text: (N,) int64.
        ks: cut-offs.

    Returns:
        ``i2t_rK`` and ``t2i_rK`` for every K.
    """
    ranks = {
        "i2t": image_to_text_ranks(images, texts, image_of_text),
        "t2i": text_to_image_ranks(images, texts, image_of_text),
    }
    return {f"{way}_r{k}": (values < k).double().mean().item() for way, values in ranks.items() for k in ks}


def list_ranks(is_own: Tensor, scores: Tensor, may_count: Tensor | None = None) -> Tensor:
    """For each query, how many wrong candidates score at least as high as its best right one.

    Args:
        is_own: (Q, k) bool, True = right.
        scores: (Q, k); -inf for what is no candidate.
        may_count: (Q, k) bool, False = this right candidate does not count as found; None = all do.

    Returns:
        (Q,) int64; 0 = a right one is found first; NOT_FOUND where none is found. A tie counts against the query.
    """
    counted = is_own if may_count is None else is_own & may_count
    best = scores.masked_fill(~counted, float("-inf")).amax(dim=1, keepdim=True)
    before = ((scores >= best) & ~is_own).sum(dim=1)
    return before.masked_fill(~counted.any(dim=1), NOT_FOUND)


class Estimate(NamedTuple):
    """A figure, and (C,) float64 how much each of C images moves it away from its mean; the images are its sample."""

    value: float
    influence: Tensor

    @property
    def error(self) -> float:
        """Standard error, robust where captions share an image; see clustered_error()."""
        return clustered_error(self.influence)

    def minus(self, other: "Estimate") -> "Estimate":
        """The difference of two figures of the same queries, paired: query by query."""
        return Estimate(self.value - other.value, self.influence - other.influence)

    def plus(self, other: "Estimate") -> "Estimate":
        """The sum of two figures of the same images."""
        return Estimate(self.value + other.value, self.influence + other.influence)


def recall_estimates(image_ranks: Tensor, text_ranks: Tensor, image_of_text: Tensor) -> dict[str, Estimate]:
    """Recall@k both ways, from 0 to 1, and their sum, with standard errors.

    Queries are the images that have a caption, and the captions that have an image.

    Args:
        image_ranks: (M,) int64 as list_ranks() gives them; text_ranks: (N,) int64.
        image_of_text: (N,) int64 or NO_IMAGE.

    Returns:
        ``i2t_r1``, ..., ``t2i_r10`` and ``sum``.

    Raises:
        ValueError: no caption has an image.
    """
    has_image = image_of_text != NO_IMAGE
    # (n,) image of each caption -> (C,) images that have one, (n,) which of these
    used, cluster = image_of_text[has_image].unique(return_inverse=True)
    if not len(used):
        raise ValueError("no caption of the subset has an image in it")
    queries = {
        "i2t": (image_ranks[used], torch.arange(len(used))),
        "t2i": (text_ranks[has_image], cluster),
    }
    estimates: dict[str, Estimate] = {}
    for way, (ranks, images) in queries.items():
        for k in KS:
            hits = (ranks < k).double()
            residuals = (hits - hits.mean()) / len(hits)
            influence = torch.zeros(len(used), dtype=torch.float64).index_add_(0, images, residuals)
            estimates[f"{way}_r{k}"] = Estimate(hits.mean().item(), influence)
    total = Estimate(0.0, torch.zeros(len(used), dtype=torch.float64))
    for estimate in list(estimates.values()):
        total = total.plus(estimate)
    return estimates | {"sum": total}
