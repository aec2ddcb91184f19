import pytest
import torch
import torch.nn.functional as F

from mvlm_plugin.losses.negatives import sample_hard_negatives, sample_rows


def vectors(count: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_a_negative_is_never_of_the_own_image() -> None:
    image_ids = torch.tensor([0, 0, 1, 2, 2, 2, 3, 1])
    images = vectors(8, 0)
    temperature = torch.tensor(0.07)
    for _ in range(100):
        # Texts equal to their images: the own pair would be by far the likeliest.
        negatives = sample_hard_negatives(images, images, temperature, image_ids)
        assert negatives.has_text.all()
        assert negatives.has_image.all()
        assert (image_ids[negatives.text_of_image] != image_ids).all()
        assert (image_ids[negatives.image_of_text] != image_ids).all()


def test_columns_are_drawn_by_the_softmax_of_what_is_allowed() -> None:
    draws = 20_000
    logits = torch.tensor([2.0, 0.0, 1.0, -1.0, 5.0])
    excluded = torch.tensor([False, False, False, False, True])
    columns, found = sample_rows(logits.expand(draws, -1), excluded.expand(draws, -1))
    assert found.all()
    counts = columns.bincount(minlength=5).double()
    expected = logits[:4].double().softmax(dim=0) * draws
    assert counts[4] == 0
    chi_square = ((counts[:4] - expected).square() / expected).sum().item()
    assert chi_square < 21.1  # exceeded once in 10,000 (3 degrees of freedom)


def test_both_directions_follow_their_own_similarities() -> None:
    draws = 3000
    images, texts = vectors(4, 1), vectors(4, 2)
    temperature = torch.tensor(0.5)
    text_counts, image_counts = torch.zeros(4, 4), torch.zeros(4, 4)
    rows = torch.arange(4)
    for _ in range(draws):
        negatives = sample_hard_negatives(images, texts, temperature, rows)
        text_counts[rows, negatives.text_of_image] += 1
        image_counts[rows, negatives.image_of_text] += 1
    logits = images @ texts.T / 0.5
    own = torch.eye(4, dtype=torch.bool)
    for counts, similarity in ((text_counts, logits), (image_counts, logits.T)):
        expected = similarity.masked_fill(own, float("-inf")).softmax(dim=1)
        torch.testing.assert_close(counts / draws, expected, atol=5 * 0.5 / draws**0.5, rtol=0)


@pytest.mark.parametrize("image_ids", [[4], [4, 4, 4]], ids=["one pair", "one image"])
def test_without_another_image_there_is_no_negative(image_ids: list[int]) -> None:
    count = len(image_ids)
    negatives = sample_hard_negatives(vectors(count, 3), vectors(count, 4), torch.tensor(0.07), torch.tensor(image_ids))
    assert not negatives.has_text.any()
    assert not negatives.has_image.any()
    for rows in (negatives.text_of_image, negatives.image_of_text):
        assert ((rows >= 0) & (rows < count)).all()


def test_only_samples_without_another_image_lack_a_negative() -> None:
    columns, found = sample_rows(torch.zeros(2, 2), torch.tensor([[True, True], [True, False]]))
    assert found.tolist() == [False, True]
    assert columns[1] == 1


def test_an_equal_generator_draws_equally() -> None:
    draw = [
        sample_hard_negatives(
            vectors(9, 5), vectors(9, 6), torch.tensor(0.5), torch.arange(9), torch.Generator().manual_seed(seed)
        )
        for seed in (1, 1, 2)
    ]
    assert torch.equal(draw[0].text_of_image, draw[1].text_of_image)
    assert torch.equal(draw[0].image_of_text, draw[1].image_of_text)
    assert not torch.equal(draw[0].text_of_image, draw[2].text_of_image)


def test_no_gradient_flows_through_the_draw() -> None:
    images = vectors(3, 7).requires_grad_()
    assert not sample_hard_negatives(images, images, torch.tensor(0.07), torch.arange(3)).text_of_image.requires_grad
