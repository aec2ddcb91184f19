"""Means and differences by cases that were counted by hand."""

import math

import pytest
import torch

from examples.study.features import Pooled
from examples.study.linear import LinearItc, cross_validated_epochs, train_linear
from examples.study.statistics import mean_of, paired_difference
from mvlm_plugin.evaluation.retrieval import recalls


def test_mean_and_error_over_seeds() -> None:
    mean = mean_of([1.0, 2.0, 6.0])
    # Deviations -2, -1, 3: variance 14 / 2 = 7, error sqrt(7 / 3).
    assert (mean.value, mean.number) == (3.0, 3)
    assert mean.error == pytest.approx(math.sqrt(7 / 3))
    assert mean.text() == "3.0 ± 1.5"


def test_one_value_has_no_error_and_none_no_text() -> None:
    assert math.isnan(mean_of([5.0]).error)
    assert mean_of([5.0]).text() == "5.0"
    assert mean_of([]).text() == ""
    assert mean_of([]).number == 0


def test_a_difference_is_paired_over_the_seeds_that_both_have() -> None:
    # Seeds differ by 100, the losses by 1 and 3: paired, the error is that of (1, 3) alone.
    difference = paired_difference({1: 101.0, 2: 203.0, 4: 9.0}, {2: 200.0, 1: 100.0, 3: 7.0})
    assert difference.value == 2.0
    assert difference.error == pytest.approx(1.0)
    assert difference.number == 2


def _pooled(images: int, seed: int) -> Pooled:
    """Images and two captions of each, whose features are two linear maps of the same thing."""
    draw = torch.Generator().manual_seed(seed)
    maps = torch.Generator().manual_seed(0)
    hidden = torch.randn(images, 8, generator=draw)
    to_image, to_text = torch.randn(8, 12, generator=maps), torch.randn(8, 10, generator=maps)
    image_of_text = torch.arange(images).repeat_interleave(2)
    return Pooled(5 + hidden @ to_image, hidden[image_of_text] @ to_text - 3, image_of_text)


def test_linear_itc_finds_what_is_linear_and_does_not_know_it_untrained() -> None:
    train, held_out = _pooled(300, 1), _pooled(50, 2)

    def found_first(model: LinearItc) -> float:
        with torch.no_grad():
            image, text = model.embed(held_out.images, held_out.texts)
        assert torch.allclose(image.norm(dim=1), torch.ones(50), atol=1e-5)
        return float(((text @ image.T).argmax(1) == held_out.image_of_text).float().mean())

    assert found_first(LinearItc(train)) < 0.2
    assert found_first(train_linear(train, 1, 60)) > 0.9


def test_linear_itc_is_the_same_for_a_seed_and_leaves_the_global_generator() -> None:
    train = _pooled(40, 1)
    state = torch.get_rng_state()
    first, again, other = (train_linear(train, seed, 2) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    weights = [model.layers[0].weight for model in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def _mislabelled(images: int, seed: int, wrong: float) -> Pooled:
    """Noisy features, many of them; a share of the captions tells of another image: learning by heart does harm."""
    draw, maps = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(0)
    hidden = torch.randn(images, 8, generator=draw)
    to_image, to_text = (torch.randn(8, 200, generator=maps) for _ in range(2))
    image_of_text = torch.arange(images).repeat_interleave(2)
    other = image_of_text[torch.randperm(2 * images, generator=draw)]
    told = torch.where(torch.rand(2 * images, generator=draw) < wrong, other, image_of_text)
    noise = [8**0.5 * torch.randn(number, 200, generator=draw) for number in (images, 2 * images)]
    return Pooled(hidden @ to_image + noise[0], hidden[told] @ to_text + noise[1], image_of_text)


def _recall_sum(model: LinearItc, held_out: Pooled) -> float:
    with torch.no_grad():
        images, texts = model.embed(held_out.images, held_out.texts)
    return sum(recalls(images, texts, held_out.image_of_text).values())


def test_epochs_are_cross_validated_where_more_of_them_overfit() -> None:
    train, held_out = _mislabelled(200, 1, wrong=0.5), _mislabelled(300, 2, wrong=0.0)
    most = 40
    found: list[float] = []
    train_linear(train, 1, most, lambda model: found.append(_recall_sum(model, held_out)))
    assert len(found) == most
    epochs = cross_validated_epochs(train, 1, most)
    assert epochs == cross_validated_epochs(train, 1, most)
    # The end is much worse than the best; what was chosen without the held-out pairs is near the best.
    assert found[-1] < max(found) - 1.0
    assert max(found) - found[epochs - 1] < 0.1 * (max(found) - found[-1])
    assert cross_validated_epochs(train, 1, 2) == 2


def test_some_of_the_images_come_with_their_captions() -> None:
    pooled = _pooled(4, 1)
    some = pooled.of(torch.tensor([False, True, False, True]))
    torch.testing.assert_close(some.images, pooled.images[[1, 3]])
    own = (pooled.image_of_text[:, None] == torch.tensor([1, 3])).any(1)
    torch.testing.assert_close(some.texts, pooled.texts[own])
    assert torch.tensor([1, 3])[some.image_of_text].tolist() == pooled.image_of_text[own].tolist()
