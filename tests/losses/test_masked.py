import math

import pytest
import torch

from mvlm_plugin.data.collate import collate
from mvlm_plugin.losses.masked import caption_sums, mim_losses, mlm_losses
from tests.helpers import (
    assert_same_tensors,
    gradients,
    make_criterion,
    make_dictionary,
    make_model,
    make_samples,
    tiny_config,
)


def test_mlm_is_the_mean_over_each_captions_masked_words() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    targets = torch.tensor([2, 1, 0])
    by_word = [math.log(1 + math.e + math.e**2) - 2, math.log(math.e**3 + 2), math.log(3)]
    # 3 captions of 4 tokens: words 1 and 2 of caption 0, none of caption 1, word 1 of caption 2.
    losses = mlm_losses(logits, targets, torch.tensor([1, 2, 9]), 3, 4)
    assert losses.tolist() == pytest.approx([(by_word[0] + by_word[1]) / 2, 0.0, by_word[2]])


def test_mlm_without_any_masked_word_is_0() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    logits = torch.zeros(0, 5, requires_grad=True)
    losses = mlm_losses(logits, none, none, 2, 3)
    losses.sum().backward()
    assert losses.tolist() == [0.0, 0.0]


def test_caption_sums_add_up_by_caption() -> None:
    sums = caption_sums(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([5, 0, 3]), 2, 3)
    assert sums.tolist() == [2.0, 5.0]


def test_mim_is_the_mean_absolute_difference_over_masked_patches() -> None:
    predicted = torch.tensor([[[1.0, 2.0], [9.0, 9.0], [0.0, -4.0]]])
    target = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]]])
    mask = torch.tensor([[True, False, True]])
    # patch 0: (1 + 2) / 2, patch 2: (1 + 5) / 2, patch 1 does not count
    assert mim_losses(predicted, target, mask).tolist() == pytest.approx([(1.5 + 3.0) / 2])


def test_mim_without_any_masked_patch_is_0() -> None:
    assert mim_losses(torch.ones(1, 3, 2), torch.zeros(1, 3, 2), torch.zeros(1, 3, dtype=torch.bool)).tolist() == [0.0]


def test_unmasked_patches_get_no_gradient() -> None:
    predicted = torch.randn(2, 3, 4, requires_grad=True)
    mask = torch.tensor([[True, False, False], [False, True, True]])
    mim_losses(predicted, torch.zeros(2, 3, 4), mask).sum().backward()
    assert torch.equal(predicted.grad.abs().sum(dim=2) > 0, mask)


def test_two_micro_batches_give_the_loss_and_gradient_of_one_batch() -> None:
    cfg = tiny_config()
    samples = make_samples(cfg, (5, 3, 8, 1, 12))
    pad = make_dictionary().pad()
    model, criterion = make_model(cfg), make_criterion(itc=0, itm=0)
    whole, size, _ = criterion(model, collate(samples, pad))
    whole.backward()
    expected = gradients(model)
    model.zero_grad()
    total, count = 0.0, 0
    for part in (samples[:2], samples[2:]):
        loss, part_size, _ = criterion(model, collate(part, pad))
        loss.backward()
        total, count = total + loss.item(), count + part_size
    assert count == size == 5
    assert total == pytest.approx(whole.item(), rel=1e-6)
    assert_same_tensors(gradients(model), expected, tolerance=1e-6, scale=1.0)
