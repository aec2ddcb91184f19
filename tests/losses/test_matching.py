import math

import pytest
import torch

from mvlm_plugin.losses.matching import matching_losses, matching_rows
from mvlm_plugin.losses.negatives import HardNegatives

NEGATIVES = HardNegatives(
    text_of_image=torch.tensor([2, 0, 1]),
    image_of_text=torch.tensor([1, 2, 0]),
    has_text=torch.tensor([True, False, True]),
    has_image=torch.tensor([True, True, False]),
)


def test_rows_are_own_pairs_then_negative_texts_then_negative_images() -> None:
    images, texts, labels, valid = matching_rows(NEGATIVES)
    assert images.tolist() == [0, 1, 2, 0, 1, 2, 1, 2, 0]
    assert texts.tolist() == [0, 1, 2, 2, 0, 1, 0, 1, 2]
    assert labels.tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert valid.tolist() == [True, True, True, True, False, True, True, True, False]


def test_a_row_that_is_no_pair_is_not_matched_either() -> None:
    *_, valid = matching_rows(NEGATIVES, torch.tensor([True, True, False]))
    assert valid[:3].tolist() == [True, True, False]


def test_losses_by_hand_and_0_where_there_is_no_pair() -> None:
    logits = torch.tensor([[0.0, 2.0], [0.0, 2.0], [5.0, -5.0]], requires_grad=True)
    losses = matching_losses(logits, torch.tensor([1, 0, 1]), torch.tensor([True, True, False]))
    losses.sum().backward()
    assert losses.tolist() == pytest.approx([math.log(1 + math.exp(-2)), math.log(1 + math.exp(2)), 0.0])
    assert logits.grad[2].tolist() == [0.0, 0.0]
