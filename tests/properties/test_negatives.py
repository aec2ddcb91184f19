"""A hard negative is never of the pair's own image, and there is one wherever there can be."""

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mvlm_plugin.losses.negatives import NO_PAIR, HardNegatives, sample_global_negatives, sample_hard_negatives

IDS = st.lists(st.just(NO_PAIR) | st.integers(0, 5) | st.just(2**62), min_size=1, max_size=12)


def check(negatives: HardNegatives, ids: torch.Tensor) -> None:
    """Of every pair of a batch on one process."""
    rows = (negatives.text_of_image, negatives.image_of_text)
    for row, flags in zip(rows, (negatives.has_text, negatives.has_image), strict=True):
        possible = [own != NO_PAIR and any(i not in (own, NO_PAIR) for i in ids.tolist()) for own in ids.tolist()]
        assert flags.tolist() == possible
        assert ((row >= 0) & (row < len(ids))).all()
        assert (ids[row[flags]] != ids[flags]).all()
        assert (ids[row[flags]] != NO_PAIR).all()


@given(IDS, st.integers(0, 2**31), st.sampled_from([0.001, 0.07, 10.0]))
def test_negatives(ids: list[int], seed: int, temperature: float) -> None:
    torch.manual_seed(seed)
    image_ids = torch.tensor(ids)
    images = F.normalize(torch.randn(len(ids), 3), dim=1)
    # Texts like their images: without the mask the own one would be drawn.
    for texts in (images, -images):
        check(sample_hard_negatives(images, texts, torch.tensor(temperature), image_ids), image_ids)
        check(sample_global_negatives(images, texts, torch.tensor(temperature), image_ids), image_ids)
