"""What the fused model gives back: unimodal features, and the parts that each loss needs."""

from typing import NamedTuple

from torch import Tensor


class MimOutput(NamedTuple):
    """What masked image modeling compares."""

    pixels: Tensor  # (B, P, 3 * patch_size ** 2) predicted
    target: Tensor  # (B, P, 3 * patch_size ** 2)
    mask: Tensor  # (B, P) bool, True = masked


class ItcOutput(NamedTuple):
    """What the contrastive loss compares."""

    image_embeddings: Tensor  # (B, E) float32 unit vectors
    text_embeddings: Tensor  # (B, E) float32 unit vectors
    temperature: Tensor  # scalar that similarities are divided by


class ItmOutput(NamedTuple):
    """What image-text matching classifies."""

    logits: Tensor  # (3B, 2)
    labels: Tensor  # (3B,) 1 = matched
    valid: Tensor  # (3B,) bool, False = no such pair


class PretrainingOutput(NamedTuple):
    """What the losses need; an objective that was not asked for is None."""

    mlm: Tensor | None = None  # (M, V) logits of the masked words
    mim: MimOutput | None = None
    itc: ItcOutput | None = None  # also there for ITM, whose negatives it chooses
    itm: ItmOutput | None = None


class Features(NamedTuple):
    """Unimodal features of a batch, whole and masked; what no objective needs is empty."""

    image: Tensor  # (B, P + 1, D)
    masked_image: Tensor  # (B, P + 1, D)
    text: Tensor  # (B, L, D)
    masked_text: Tensor  # (B, L, D)
