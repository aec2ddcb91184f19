"""Hard negatives for image-text matching, drawn from contrastive similarities without a loop over the batch."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..distributed import gather_padded, padded_rows, rank, world_size
from ..precision import full_precision

# Image id of a row that fills up a batch and is no pair: left out of every softmax, never a negative.
NO_PAIR = -1
_NOISE_SEED = 0x17E5


class HardNegatives(NamedTuple):
    """One negative a sample and direction; where the flag is False there was none, and the row must not count."""

    text_of_image: Tensor  # (B,) int64
    image_of_text: Tensor  # (B,) int64
    has_text: Tensor  # (B,) bool
    has_image: Tensor  # (B,) bool


def exponential_noise(*shape: int, device: torch.device, generator: torch.Generator | None = None) -> Tensor:
    """Exponential draws in float32, above zero; -log of one is a Gumbel draw."""
    noise = torch.empty(shape, dtype=torch.float32, device=device)
    return noise.exponential_(generator=generator).clamp_min_(1e-20)


def sample_rows(logits: Tensor, excluded: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Draw one column a row from the softmax of its logits over the columns that are not excluded.

    Uses the Gumbel-max trick, so that rows without any column left need no special case and nothing waits
    for the device.

    Args:
        logits: (R, C) float.
        excluded: (R, C) bool, True = may not be drawn.
        noise: (R, C) from exponential_noise(); drawn from the global generator by default.

    Returns:
        (R,) int64 columns and (R,) bool, False where all columns were excluded (the column is then meaningless).
    """
    if noise is None:
        noise = exponential_noise(*logits.shape, device=logits.device)
    keys = (logits.float() - noise.log()).masked_fill(excluded, float("-inf"))
    return keys.argmax(dim=1), ~excluded.all(dim=1)


def similarities(images: Tensor, texts: Tensor, temperature: Tensor) -> Tensor:
    """(B, E) and (C, E) unit vectors -> (B, C) in float32 whatever autocast is on, divided by the temperature."""
    with full_precision(images.device):
        return images.float() @ texts.float().T / temperature.float()


def same_image(image_ids: Tensor, other_ids: Tensor) -> Tensor:
    """(B,) and (C,) int64 -> (B, C) bool: a column that shows the row's image, or where one of them is no pair."""
    equal = image_ids[:, None] == other_ids[None, :]
    return equal | (image_ids == NO_PAIR)[:, None] | (other_ids == NO_PAIR)[None, :]


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
        image_ids: (B,) int64, equal for pairs of the same image, NO_PAIR where a row is no pair.
        generator: random source.
    """
    similarity = similarities(image_embeddings, text_embeddings, temperature)
    excluded = same_image(image_ids, image_ids)
    noise = exponential_noise(2, *similarity.shape, device=similarity.device, generator=generator)
    text_of_image, has_text = sample_rows(similarity, excluded, noise[0])
    image_of_text, has_image = sample_rows(similarity.T, excluded, noise[1])
    return HardNegatives(text_of_image, image_of_text, has_text, has_image)


@torch.no_grad()
def sample_global_negatives(
    image_embeddings: Tensor,
    text_embeddings: Tensor,
    temperature: Tensor,
    image_ids: Tensor,
    capacity: int | None = None,
) -> HardNegatives:
    """As sample_hard_negatives(), from the pairs of all ranks; all ranks call this together.

    The noise belongs to a pair's place among all pairs and comes from a generator of its own, seeded from the seed
    that torch was last given (fairseq gives all ranks the same one before each update): the same pairs get the same
    negatives on any number of ranks, whatever dropout drew. Batches accumulated in one update share the noise.

    Args:
        image_embeddings, text_embeddings, temperature, image_ids: as there, of this rank's pairs.
        capacity: most pairs that any rank has; see distributed.padded_rows().

    Returns:
        For each pair of this rank rows among the padded ones of all ranks: rank * rows + row. A pair without a
        negative has its own row there.
    """
    count, device = image_ids.size(0), image_ids.device
    rows = padded_rows(count, capacity, device)
    all_ids = gather_padded(image_ids, rows, NO_PAIR)
    all_images, all_texts = gather_padded(image_embeddings, rows), gather_padded(text_embeddings, rows)
    own = torch.arange(count, device=device) + rank() * rows
    place = ((all_ids != NO_PAIR).cumsum(0) - 1).clamp_min(0)
    # As much noise on one process, whose last batch may be smaller, as on several.
    places = max(world_size() * rows, capacity or 0)
    generator = torch.Generator(device).manual_seed(torch.initial_seed() + _NOISE_SEED)
    noise = exponential_noise(2, places, places, device=device, generator=generator)[:, place[own]][:, :, place]
    excluded = same_image(image_ids, all_ids)
    texts, has_text = sample_rows(similarities(image_embeddings, all_texts, temperature), excluded, noise[0])
    images, has_image = sample_rows(similarities(text_embeddings, all_images, temperature), excluded, noise[1])
    return HardNegatives(torch.where(has_text, texts, own), torch.where(has_image, images, own), has_text, has_image)
