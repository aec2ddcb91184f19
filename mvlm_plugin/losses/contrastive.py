"""Image-text contrastive loss (symmetric InfoNCE; van den Oord et al., 2018; Radford et al., 2021)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..distributed import gather_rows, gather_sizes, rank


class ContrastiveLosses(NamedTuple):
    """Per pair of this rank: (B,) losses in nats, and (B,) bool whether the own partner was the most similar."""

    image_to_text: Tensor
    text_to_image: Tensor
    image_correct: Tensor
    text_correct: Tensor

    @property
    def loss(self) -> Tensor:
        """(B,) mean of both directions."""
        return (self.image_to_text + self.text_to_image) / 2


def contrastive_losses(
    image_embeddings: Tensor,
    text_embeddings: Tensor,
    temperature: Tensor,
    image_ids: Tensor,
    all_ranks: bool = True,
) -> ContrastiveLosses:
    """Contrast each image with the texts of all ranks, and each text with the images of all ranks.

    Other captions of the same image are neither positives nor negatives: they are left out of the softmax.

    Args:
        image_embeddings, text_embeddings: (B, E) float32 unit vectors of this rank's pairs; B may differ by rank.
        temperature: scalar that similarities are divided by.
        image_ids: (B,) int64, equal for pairs of the same image.
        all_ranks: False keeps to this rank's pairs; no rank waits for another then.
    """
    sizes = gather_sizes(image_ids.size(0), image_ids.device) if all_ranks else [image_ids.size(0)]
    all_images = gather_rows(image_embeddings, sizes)
    all_texts = gather_rows(text_embeddings, sizes)
    all_ids = gather_rows(image_ids, sizes)
    own = torch.arange(image_ids.size(0), device=image_ids.device) + sum(sizes[: rank() if all_ranks else 0])
    left_out = image_ids[:, None] == all_ids[None, :]
    left_out[torch.arange(own.size(0), device=own.device), own] = False
    image_logits = (image_embeddings @ all_texts.T / temperature).masked_fill(left_out, float("-inf"))
    text_logits = (text_embeddings @ all_images.T / temperature).masked_fill(left_out, float("-inf"))
    return ContrastiveLosses(
        F.cross_entropy(image_logits, own, reduction="none"),
        F.cross_entropy(text_logits, own, reduction="none"),
        image_logits.argmax(dim=1) == own,
        text_logits.argmax(dim=1) == own,
    )
