"""Hard negatives for image-text matching, drawn from contrastive similarities without a loop over the batch."""

from typing import NamedTuple

import torch
from torch import Tensor


class HardNegatives(NamedTuple):
    """One negative a sample and direction; where the flag is False there was none, and the row must not count."""

    text_of_image: Tensor  # (B,) int64
    image_of_text: Tensor  # (B,) int64
    has_text: Tensor  # (B,) bool
    has_image: Tensor  # (B,) bool


def sample_rows(logits: Tensor, excluded: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Draw one column a row from the softmax of its logits over the columns that are not excluded.

    Uses the Gumbel-max trick, so that rows without any column left need no special case and nothing waits
    for the device.

    Args:
        logits: (R, C) float.
        excluded: (R, C) bool, True = may not be drawn.
        generator: random source; the global one by default.

    Returns:
        (R,) int64 columns and (R,) bool, False where all columns were excluded (the column is then meaningless).
    """
    # An exponential draw e gives a Gumbel draw -log(e); float32 keeps e above zero.
    noise = torch.empty_like(logits, dtype=torch.float32).exponential_(generator=generator).clamp_min_(1e-20)
    keys = (logits.float() - noise.log()).masked_fill(excluded, float("-inf"))
    return keys.argmax(dim=1), ~excluded.all(dim=1)


@torch.no_grad()
def sample_hard_negatives(
    image_embeddings: Tensor,
    text_embeddings: Tensor,
    temperature: Tensor,
    image_ids: Tensor,
    generator: torch.Generator | None = None,
) -> HardNegatives:
    """Draw for each image a text, and for each text an image, that is similar but not its own.

    Captions of the same image are never negatives of one another.

    Args:
        image_embeddings, text_embeddings: (B, E) unit vectors, row i of one belonging to row i of the other.
        temperature: scalar that similarities are divided by.
        image_ids: (B,) int64, equal for pairs of the same image.
        generator: random source.
    """
    similarity = image_embeddings.float() @ text_embeddings.float().T / temperature.float()
    same_image = image_ids[:, None] == image_ids[None, :]
    text_of_image, has_text = sample_rows(similarity, same_image, generator)
    image_of_text, has_image = sample_rows(similarity.T, same_image, generator)
    return HardNegatives(text_of_image, image_of_text, has_text, has_image)
