import hashlib
import itertools

import numpy as np
import pytest

from mvlm_plugin.data.databin import HASH, DataBinError
from mvlm_plugin.data.fraction import captions_of_images, images_of_fraction


def make_hashes(count: int) -> np.ndarray:
    hashes = np.zeros(count, dtype=HASH)
    for image in range(count):
        hashes["content"][image] = np.frombuffer(hashlib.sha256(b"%d" % image).digest()[:16], "<u8")
    return hashes


def test_the_number_of_images_is_the_rounded_share() -> None:
    hashes = make_hashes(30)
    for fraction, count in ((1e-9, 1), (0.1, 3), (0.25, 8), (0.55, 16), (0.99, 30), (1.0, 30)):
        kept = images_of_fraction(hashes, fraction, 1)
        assert len(kept) == len(set(kept.tolist())) == count
        assert (np.diff(kept) > 0).all()


def test_larger_fractions_hold_the_smaller_ones() -> None:
    hashes = make_hashes(500)
    parts = [set(images_of_fraction(hashes, fraction, 3).tolist()) for fraction in (0.01, 0.1, 0.25, 0.5, 1.0)]
    assert all(smaller < larger for smaller, larger in itertools.pairwise(parts))


def test_an_image_keeps_its_place_whatever_its_number() -> None:
    hashes = make_hashes(500)
    order = np.random.default_rng(0).permutation(500)
    kept = images_of_fraction(hashes[order], 0.2, 3)
    assert sorted(order[kept]) == images_of_fraction(hashes, 0.2, 3).tolist()


def splitmix64(state: int) -> int:
    """The generator's published definition, in whole numbers."""
    mixed = (state + 0x9E3779B97F4A7C15) % 2**64
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % 2**64
    return mixed ^ (mixed >> 31)


@pytest.mark.parametrize("seed", [0, 1, -3])
def test_the_choice_is_the_same_on_every_machine(seed: int) -> None:
    hashes = make_hashes(100)
    assert splitmix64(0) == 0xE220A8397B1DCDAF
    first, second = hashes["content"].T.tolist()
    start = splitmix64(seed % 2**64)
    keys = [splitmix64(splitmix64(start ^ a) ^ b) for a, b in zip(first, second, strict=True)]
    assert images_of_fraction(hashes, 0.08, seed).tolist() == sorted(sorted(range(100), key=keys.__getitem__)[:8])


def test_the_choice_is_even_and_differs_by_seed() -> None:
    hashes = make_hashes(2000)
    chosen = np.zeros(2000, dtype=int)
    for seed in range(100):
        chosen[images_of_fraction(hashes, 0.3, seed)] += 1
    # Binomial: mean 30, standard deviation 4.58.
    assert chosen.mean() == 30
    assert 4.2 < chosen.std() < 5.0
    assert 10 < chosen.min() < chosen.max() < 50


@pytest.mark.parametrize("half", [0, 1])
def test_both_halves_of_the_hash_count(half: int) -> None:
    hashes = np.zeros(1000, dtype=HASH)
    hashes["content"][:, half] = np.arange(1000)
    kept = images_of_fraction(hashes, 0.1, 1)
    assert kept.max() > 800
    assert kept.min() < 200


def test_equal_images_are_taken_in_their_order() -> None:
    hashes = np.zeros(10, dtype=HASH)
    assert images_of_fraction(hashes, 0.3, 1).tolist() == [0, 1, 2]


def test_all_captions_of_the_images_are_kept() -> None:
    pairs = np.array([4, 0, 1, 1, 2, 4, 3])
    assert captions_of_images(pairs, np.array([1, 4]), 5).tolist() == [0, 2, 3, 5]
    two = np.stack([pairs, np.zeros(7, dtype=int)], axis=1)
    assert captions_of_images(two, np.array([1, 4]), 5).tolist() == [0, 2, 3, 5]


@pytest.mark.parametrize("image", [-1, 5])
def test_pairs_outside_the_images_are_refused(image: int) -> None:
    with pytest.raises(DataBinError, match="outside the 5 images"):
        captions_of_images(np.array([0, image]), np.array([0]), 5)


def test_images_without_captions_are_refused() -> None:
    with pytest.raises(DataBinError, match="none of the 1 images"):
        captions_of_images(np.array([0, 1]), np.array([2]), 3)
