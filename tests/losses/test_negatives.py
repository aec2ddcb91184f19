from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from mvlm_plugin.losses.negatives import (
    NO_PAIR,
    HardNegatives,
    sample_global_negatives,
    sample_hard_negatives,
    sample_rows,
)


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


@pytest.mark.parametrize("draw", [sample_hard_negatives, sample_global_negatives])
def test_a_row_that_is_no_pair_is_no_negative_and_has_none(draw: Callable[..., HardNegatives]) -> None:
    ids = torch.tensor([0, NO_PAIR, 1, NO_PAIR, 2])
    pairs = ids != NO_PAIR
    for _ in range(30):
        negatives = draw(vectors(5, 8), vectors(5, 9), torch.tensor(0.5), ids)
        for rows, found in (
            (negatives.text_of_image, negatives.has_text),
            (negatives.image_of_text, negatives.has_image),
        ):
            assert torch.equal(found, pairs)
            assert pairs[rows[pairs]].all()
            assert (rows[pairs] != torch.arange(5)[pairs]).all()


def test_global_negatives_belong_to_the_seed_and_to_the_place_among_the_pairs() -> None:
    def draw(seed: int, ids: torch.Tensor, drawn: int = 0) -> HardNegatives:
        torch.manual_seed(seed)
        torch.rand(drawn)  # what was drawn since does not matter
        pairs = (ids != NO_PAIR).cumsum(0) - 1
        return sample_global_negatives(vectors(9, 5)[pairs], vectors(9, 6)[pairs], torch.tensor(0.5), ids, capacity=12)

    ids = torch.arange(9)
    first, again, other = draw(1, ids), draw(1, ids, drawn=5), draw(2, ids)
    assert torch.equal(first.text_of_image, again.text_of_image)
    assert torch.equal(first.image_of_text, again.image_of_text)
    assert not torch.equal(first.text_of_image, other.text_of_image)
    gaps = torch.tensor([0, NO_PAIR, 1, 2, 3, NO_PAIR, 4, 5, 6, 7, 8])
    pairs = (gaps != NO_PAIR).nonzero().flatten()
    assert torch.equal(draw(1, gaps).text_of_image[pairs], pairs[first.text_of_image])
