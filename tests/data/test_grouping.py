import numpy as np
import pytest

from mvlm_plugin.data.databin import DataBinError
from mvlm_plugin.data.grouping import grouped_order, other_texts

# Texts of six images, mixed: 5, 1, 7, 2, 3 and 4 of them.
GROUP = np.random.default_rng(3).permutation(np.repeat(np.arange(6), [5, 1, 7, 2, 3, 4]))


@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_groups_of_one_image_follow_one_another(size: int) -> None:
    order, draws = grouped_order(GROUP, size, np.random.default_rng(1))
    assert sorted(order) == list(range(len(GROUP)))
    # Runs of texts with the same image and draw are the groups: as few as there can be, each text in one.
    keys = list(zip(GROUP[order].tolist(), draws[order].tolist(), strict=True))
    runs = [key for place, key in enumerate(keys) if place == 0 or keys[place - 1] != key]
    assert len(runs) == len(set(runs)) == sum(-(-count // size) for count in np.bincount(GROUP))
    assert max(keys.count(key) for key in keys) == min(size, 7)


def test_orders_and_groups_change_with_the_generator() -> None:
    first, first_draws = grouped_order(GROUP, 2, np.random.default_rng(1))
    again, again_draws = grouped_order(GROUP, 2, np.random.default_rng(1))
    other, other_draws = grouped_order(GROUP, 2, np.random.default_rng(2))
    assert np.array_equal(first, again)
    assert np.array_equal(first_draws, again_draws)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first_draws, other_draws)


def test_groups_do_not_come_in_the_order_of_images() -> None:
    order, _ = grouped_order(GROUP, 3, np.random.default_rng(1))
    images = GROUP[order]
    assert np.any(np.diff(images) < 0)


def test_held_out_texts_come_image_by_image() -> None:
    order, draws = grouped_order(GROUP, 2, None)
    assert GROUP[order].tolist() == sorted(GROUP)
    assert not draws.any()
    for image in range(6):
        assert order[GROUP[order] == image].tolist() == np.flatnonzero(image == GROUP).tolist()


@pytest.mark.parametrize("seed", range(20))
def test_no_text_keeps_its_images(seed: int) -> None:
    other = other_texts(GROUP, seed)
    assert sorted(other) == list(range(len(GROUP)))
    assert np.all(GROUP[other] != GROUP)
    assert np.array_equal(other, other_texts(GROUP, seed))


def test_half_of_the_texts_may_be_of_one_image_and_no_more() -> None:
    for seed in range(10):
        half = np.array([0, 0, 0, 1, 2, 3])
        assert np.all(half[other_texts(half, seed)] != half)
    with pytest.raises(DataBinError, match="3 of 5 texts are of the same images"):
        other_texts(np.array([0, 0, 0, 1, 2]), 1)


def test_permutations_of_two_seeds_differ() -> None:
    assert not np.array_equal(other_texts(GROUP, 1), other_texts(GROUP, 2))
