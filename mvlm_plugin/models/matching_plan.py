"""Which pairs image-text matching judges, and where the features of their negatives come from."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..distributed import fetch_rows, gather_padded, padded_rows, world_size
from ..losses.negatives import NO_PAIR, HardNegatives, sample_global_negatives, sample_hard_negatives
from .outputs import ItcOutput


class WholePairs(NamedTuple):
    """Features of whole images and captions."""

    image: Tensor  # (B, P + 1, D)
    text: Tensor  # (B, L, D)
    padding_mask: Tensor  # (B, L) bool, True = padding

    def followed_by(self, others: "WholePairs") -> "WholePairs":
        """These pairs and then the others, captions padded to the longer length."""
        length = max(self.text.size(1), others.text.size(1))
        first, second = self.padded(length), others.padded(length)
        return WholePairs(*(torch.cat(parts) for parts in zip(first, second, strict=True)))

    def padded(self, length: int) -> "WholePairs":
        """The same with captions of ``length`` tokens, at least as many as there are."""
        more = length - self.text.size(1)
        text = F.pad(self.text, (0, 0, 0, more))
        return WholePairs(self.image, text, F.pad(self.padding_mask, (0, more), value=True))


class Exchange(NamedTuple):
    """The negatives that all ranks fetch from one another; see distributed.fetch_rows()."""

    images: Tensor  # (world, rows) int64 on the CPU
    texts: Tensor  # (world, rows) int64 on the CPU
    length: int  # of the longest padded captions on any rank


class MatchingPlan(NamedTuple):
    """Negatives of this rank's B pairs."""

    negatives: (
        HardNegatives  # rows of this rank's pairs; with an exchange: of this rank's pairs followed by what it fetches
    )
    is_pair: Tensor  # (B,) bool, False = a row that only fills up the batch
    scale: Tensor  # scalar, pairs for each row that is judged, over all pairs that negatives were drawn from
    exchange: Exchange | None = None

    def fetch(self, pairs: WholePairs) -> WholePairs:
        """The negatives from all ranks, with gradient: row i has the image for text i and the text for image i.

        Two exchanges of features and one of masks; each rank sends and receives about as many rows as it has pairs.
        """
        assert self.exchange is not None, "only negatives of other ranks are fetched"
        _, text, padding_mask = pairs.padded(self.exchange.length)
        return WholePairs(
            fetch_rows(pairs.image, self.exchange.images),
            fetch_rows(text, self.exchange.texts),
            fetch_rows(padding_mask.to(torch.uint8), self.exchange.texts).bool(),
        )


def following_rows(negatives: HardNegatives) -> HardNegatives:
    """The same negatives, where row i of them has come to stand in row B + i, after B pairs."""
    count = negatives.text_of_image.size(0)
    rows = torch.arange(count, 2 * count, device=negatives.text_of_image.device)
    return negatives._replace(text_of_image=rows, image_of_text=rows)


def plan_matching(
    itc: ItcOutput, image_ids: Tensor, length: int, all_ranks: bool = False, capacity: int | None = None
) -> MatchingPlan:
    """Draw hard negatives for this rank's pairs.

    Args:
        itc: embeddings of the pairs, and the temperature.
        image_ids: (B,) int64, NO_PAIR = not a pair.
        length: tokens of the padded captions.
        all_ranks: draw from the pairs of all ranks. With several, they exchange what was drawn, and the host waits
            for the device once, since only the wanted rows travel and their number must be known.
        capacity: most pairs that any rank has; see distributed.padded_rows().
    """
    is_pair = image_ids != NO_PAIR
    if not all_ranks:
        negatives = sample_hard_negatives(*itc, image_ids)
        return MatchingPlan(negatives, is_pair, _scale(is_pair, negatives.has_text, negatives.has_image))
    negatives = sample_global_negatives(*itc, image_ids, capacity)
    columns = [negatives.image_of_text, negatives.text_of_image]
    columns += [flag.long() for flag in (is_pair, negatives.has_text, negatives.has_image)]
    drawn = torch.stack([*columns, torch.full_like(image_ids, length)])
    rows = padded_rows(image_ids.size(0), capacity, image_ids.device)
    # (6, B) -> (6, world * rows)
    drawn = gather_padded(drawn.T, rows, fill=-1).T
    scale = _scale(*(drawn[2:5] > 0))
    if world_size() == 1:
        return MatchingPlan(negatives, is_pair, scale)
    images, texts, *_, lengths = drawn.cpu().view(6, world_size(), rows)
    exchange = Exchange(images, texts, int(lengths.max()))
    return MatchingPlan(following_rows(negatives), is_pair, scale, exchange)


def _scale(is_pair: Tensor, has_text: Tensor, has_image: Tensor) -> Tensor:
    pairs = is_pair.sum()
    return pairs / (pairs + has_text.sum() + has_image.sum()).clamp_min(1)
