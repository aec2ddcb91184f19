import math

import pytest
import torch
import torch.nn.functional as F

from mvlm_plugin.losses.contrastive import contrastive_losses
from mvlm_plugin.losses.negatives import NO_PAIR


def log_sum_exp(*values: float) -> float:
    return math.log(sum(math.exp(value) for value in values))


def test_values_computed_by_hand() -> None:
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    texts = torch.tensor([[0.6, 0.8], [0.0, 1.0]])
    # Similarities divided by the temperature 0.5: [[1.2, 0.0], [1.6, 2.0]]
    losses = contrastive_losses(images, texts, torch.tensor(0.5), torch.tensor([7, 8]))
    image_to_text = [log_sum_exp(1.2, 0.0) - 1.2, log_sum_exp(1.6, 2.0) - 2.0]
    text_to_image = [log_sum_exp(1.2, 1.6) - 1.2, log_sum_exp(0.0, 2.0) - 2.0]
    assert losses.image_to_text.tolist() == pytest.approx(image_to_text)
    assert losses.text_to_image.tolist() == pytest.approx(text_to_image)
    assert losses.loss.tolist() == pytest.approx(
        [(a + b) / 2 for a, b in zip(image_to_text, text_to_image, strict=True)]
    )
    assert losses.image_correct.tolist() == [True, True]
    assert losses.text_correct.tolist() == [False, True]


def test_gradients_flow_into_both_sides_and_the_temperature() -> None:
    images, texts = (F.normalize(torch.randn(5, 4), dim=1).requires_grad_() for _ in range(2))
    temperature = torch.tensor(0.2, requires_grad=True)
    inputs, own = (images, texts, temperature), torch.arange(5)
    actual = torch.autograd.grad(contrastive_losses(*inputs, own).loss.sum(), inputs)
    logits = images @ texts.T / temperature
    loss = F.cross_entropy(logits, own, reduction="sum") + F.cross_entropy(logits.T, own, reduction="sum")
    for value, expected in zip(actual, torch.autograd.grad(loss / 2, inputs), strict=True):
        torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-5)


def test_other_captions_of_the_same_image_are_left_out() -> None:
    images, texts = (F.normalize(torch.randn(3, 4), dim=1) for _ in range(2))
    similarity = (images @ texts.T / 0.1).tolist()
    losses = contrastive_losses(images, texts, torch.tensor(0.1), torch.tensor([1, 2, 1]))
    # Pairs 0 and 2 share an image: each contrasts with pair 1 alone.
    assert losses.image_to_text.tolist() == pytest.approx(
        [
            log_sum_exp(similarity[0][0], similarity[0][1]) - similarity[0][0],
            log_sum_exp(*similarity[1]) - similarity[1][1],
            log_sum_exp(similarity[2][1], similarity[2][2]) - similarity[2][2],
        ],
        abs=1e-5,
    )
    assert losses.text_to_image[0].item() == pytest.approx(
        log_sum_exp(similarity[0][0], similarity[1][0]) - similarity[0][0], abs=1e-5
    )


def test_an_equal_caption_of_the_same_image_does_not_make_a_pair_wrong() -> None:
    vectors = torch.eye(2)[[0, 0, 1]]
    losses = contrastive_losses(vectors, vectors, torch.tensor(0.07), torch.tensor([3, 3, 4]))
    assert losses.image_correct.all()
    assert losses.text_correct.all()


@pytest.mark.parametrize("image_ids", [[5], [5, 5, 5]], ids=["one pair", "one image"])
def test_without_negatives_the_loss_is_0_and_its_gradient_finite(image_ids: list[int]) -> None:
    images = torch.randn(len(image_ids), 4, requires_grad=True)
    losses = contrastive_losses(images, torch.randn(len(image_ids), 4), torch.tensor(0.07), torch.tensor(image_ids))
    losses.loss.sum().backward()
    assert losses.loss.tolist() == [0.0] * len(image_ids)
    assert torch.equal(images.grad, torch.zeros_like(images))


def test_the_smallest_temperature_gives_finite_losses_and_gradients() -> None:
    images = torch.nn.Parameter(F.normalize(torch.randn(8, 4), dim=1))
    temperature = torch.tensor(0.001, requires_grad=True)
    contrastive_losses(images, -images, temperature, torch.arange(8)).loss.sum().backward()
    assert images.grad.isfinite().all()
    assert temperature.grad.isfinite()


def test_a_row_that_is_no_pair_changes_nothing() -> None:
    images, texts = (F.normalize(torch.randn(4, 4), dim=1).requires_grad_() for _ in range(2))
    ids = torch.tensor([5, NO_PAIR, 6, NO_PAIR])
    losses = contrastive_losses(images, texts, torch.tensor(0.1), ids)
    pairs = ids != NO_PAIR
    expected = contrastive_losses(images[pairs], texts[pairs], torch.tensor(0.1), ids[pairs])
    torch.testing.assert_close(losses.loss[pairs], expected.loss)
    assert losses.loss[~pairs].tolist() == [0.0, 0.0]
    losses.loss.sum().backward()
    assert all(x.grad[pairs].any() and not x.grad[~pairs].any() for x in (images, texts))


def test_similarities_are_float32_under_autocast() -> None:
    images, texts = (F.normalize(torch.randn(6, 8), dim=1) for _ in range(2))
    expected = contrastive_losses(images, texts, torch.tensor(0.01), torch.arange(6)).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(contrastive_losses(images, texts, torch.tensor(0.01), torch.arange(6)).loss, expected)
