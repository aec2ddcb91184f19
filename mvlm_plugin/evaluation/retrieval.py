"""Recall@k of image-text retrieval from embeddings."""

import torch
from torch import Tensor

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


def recalls(images: Tensor, texts: Tensor, image_of_text: Tensor, ks: tuple[int, ...] = (1, 5, 10)) -> dict[str, float]:
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
