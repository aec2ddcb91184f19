"""Image-text matching loss."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .negatives import HardNegatives


def matching_rows(negatives: HardNegatives, is_pair: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The 3B pairs that ITM classifies: B matched, B images with a negative text, B texts with a negative image.

    Args:
        negatives: of B pairs.
        is_pair: (B,) bool, False = a row that only fills up the batch; None = all are pairs.

    Returns:
        (3B,) int64 image of each pair, (3B,) int64 text of each pair, (3B,) int64 label (1 = matched), and
        (3B,) bool, False = not a pair (no negative could be found), to be left out.
    """
    own = torch.arange(negatives.text_of_image.size(0), device=negatives.text_of_image.device)
    images = torch.cat([own, own, negatives.image_of_text])
    texts = torch.cat([own, negatives.text_of_image, own])
    labels = torch.cat([torch.ones_like(own), torch.zeros_like(own), torch.zeros_like(own)])
    matched = torch.ones_like(negatives.has_text) if is_pair is None else is_pair
    valid = torch.cat([matched, negatives.has_text, negatives.has_image])
    return images, texts, labels, valid


def matching_losses(logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
    """Cross-entropy in nats of each pair, 0 where not valid. logits (M, 2); labels, valid (M,) -> (M,) float32."""
    return F.cross_entropy(logits.float(), labels, reduction="none") * valid
