"""Image-text contrastive loss (symmetric InfoNCE; van den Oord et al., 2018; Radford et al., 2021)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..distributed import gather_padded, padded_rows, rank
from .negatives import NO_PAIR, same_image, similarities


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
    capacity: int | None = None,
) -> ContrastiveLosses:
    """Contrast each image with the texts of all ranks, and each text with the images of all ranks.

    Other captions of the same image are neither positives nor negatives: they are left out of the softmax.

    Args:
        image_embeddings, text_embeddings: (B, E) float32 unit vectors of this rank's pairs; B may differ by rank.
        temperature: scalar that similarities are divided by.
        image_ids: (B,) int64, equal for pairs of the same image; a row with NO_PAIR has loss 0 and is no negative.
        all_ranks: False keeps to this rank's pairs; no rank waits for another then.
        capacity: most pairs that any rank has; see distributed.padded_rows().
    """
    all_images, all_texts, all_ids, first = image_embeddings, text_embeddings, image_ids, 0
    if all_ranks:
        rows = padded_rows(image_ids.size(0), capacity, image_ids.device)
        all_images, all_texts = gather_padded(image_embeddings, rows), gather_padded(text_embeddings, rows)
        all_ids, first = gather_padded(image_ids, rows, NO_PAIR), rank() * rows
    row = torch.arange(image_ids.size(0), device=image_ids.device)
    own = row + first
    left_out = same_image(image_ids, all_ids)
    left_out[row, own] = False
    image_logits = similarities(image_embeddings, all_texts, temperature).masked_fill(left_out, float("-inf"))
    text_logits = similarities(text_embeddings, all_images, temperature).masked_fill(left_out, float("-inf"))
    return ContrastiveLosses(
        F.cross_entropy(image_logits, own, reduction="none"),
        F.cross_entropy(text_logits, own, reduction="none"),
        image_logits.argmax(dim=1) == own,
        text_logits.argmax(dim=1) == own,
    )
