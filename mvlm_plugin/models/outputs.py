"""What the fused model gives back: unimodal features, and the parts that each loss needs."""

from collections.abc import Collection
from typing import NamedTuple

from torch import Tensor


class MimOutput(NamedTuple):
    """What masked image modeling compares: M patches an image, all that are masked."""

    pixels: Tensor  # (B, M, 3 * patch_size ** 2) predicted
    target: Tensor  # (B, M, 3 * patch_size ** 2)
    mask: Tensor  # (B, M) bool, False = not masked: fills up the row of an image with fewer masked patches


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
    scale: Tensor  # scalar, pairs for each valid row: makes a sum over rows a mean over rows times the number of pairs


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


def needed_views(objectives: Collection[str], mask_both: bool) -> set[str]:
    """The fields of Features that some of "mlm", "mim", "itc", "itm" read; mask_both as in MvlmConfig."""
    wanted, both = set(objectives), mask_both
    aligned = bool(wanted & {"itc", "itm"})
    needed = {
        "image": aligned or ("mlm" in wanted and not both),
        "masked_image": "mim" in wanted or ("mlm" in wanted and both),
        "text": aligned or ("mim" in wanted and not both),
        "masked_text": "mlm" in wanted or ("mim" in wanted and both),
    }
    return {view for view, is_needed in needed.items() if is_needed}
