"""Masks hide as much as was asked for, where it may be hidden, and the same again for the same seed."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mvlm_plugin.data.dataset import JointMaskedDataset, PairOptions
from mvlm_plugin.data.store import PairStore
from mvlm_plugin.masking.image import mask_blocks, masked_block_count, masked_patch_count
from mvlm_plugin.masking.text import mask_text
from mvlm_plugin.modules.patches import blocks_to_patches
from tests.data.test_dataset import equal
from tests.helpers import make_dictionary, write_databin

SEEDS = st.integers(0, 2**64 - 1)
RATIOS = st.floats(0.001, 0.999)
MASK, WORDS = 44, (4, 44)


@given(st.integers(1, 8), st.integers(1, 4), st.integers(1, 64), RATIOS, SEEDS)
def test_blocks(patch: int, factor: int, grid: int, ratio: float, seed: int) -> None:
    size, block = patch * grid, patch * factor
    mask = mask_blocks(size, block, ratio, np.random.default_rng(seed))
    side = math.ceil(size / block)
    assert mask.shape == (side, side)
    assert mask.dtype == bool
    assert mask.sum() == masked_block_count(size, block, ratio)
    assert abs(mask.sum() - ratio * side**2) <= 1 or side == 1
    if side > 1:
        assert 0 < mask.sum() < side**2
    assert np.array_equal(mask, mask_blocks(size, block, ratio, np.random.default_rng(seed)))
    patches = blocks_to_patches(torch.from_numpy(mask)[None], block, patch, grid)[0].view(grid, grid)
    for row in range(0, grid, factor):  # every patch is as its block is
        for column in range(0, grid, factor):
            whole = patches[row : row + factor, column : column + factor]
            assert (whole == bool(mask[row // factor, column // factor])).all()
    most = masked_patch_count(size, block, ratio, patch)
    assert patches.sum() == most if grid % factor == 0 else patches.sum() <= most


@given(st.lists(st.integers(*WORDS).filter(lambda word: word != MASK), max_size=40), RATIOS, SEEDS)
def test_words(words: list[int], ratio: float, seed: int) -> None:
    tokens = np.array([0, *words, 2], dtype=np.int64)
    given_tokens = tokens.copy()
    masked, chosen = mask_text(tokens, ratio, MASK, WORDS, np.random.default_rng(seed))
    assert np.array_equal(tokens, given_tokens)
    assert not chosen[0]
    assert not chosen[-1]
    exact = ratio * len(words)
    allowed = {0} if not words else {min(len(words), max(1, count)) for count in (math.floor(exact), math.ceil(exact))}
    assert chosen.sum() in allowed
    assert np.array_equal(masked[~chosen], tokens[~chosen])
    replaced = masked[chosen & (masked != tokens)]
    assert all(token == MASK or WORDS[0] <= token < WORDS[1] for token in replaced)
    again = mask_text(tokens, ratio, MASK, WORDS, np.random.default_rng(seed))
    assert np.array_equal(again.tokens, masked)
    assert np.array_equal(again.chosen, chosen)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    return PairStore(write_databin(tmp_path_factory.mktemp("masks") / "databin", images=12), "train")


def _data(store: PairStore, seed: int, ratios: tuple[float, float]) -> JointMaskedDataset:
    image_ratio, text_ratio = ratios
    transform = "decode|random_resized_crop({size}, scale=0.2)|randaugment(2, 7)"
    options = PairOptions(16, 8, image_ratio, 8, text_ratio, transform)
    return JointMaskedDataset(store, make_dictionary(), options, seed, train=True)


@given(st.lists(st.tuples(st.integers(0, 23), st.integers(1, 10**6)), max_size=6), SEEDS, st.tuples(RATIOS, RATIOS))
def test_a_sample_depends_on_seed_epoch_and_pair_alone(
    store: PairStore, order: list[tuple[int, int]], seed: int, ratios: tuple[float, float]
) -> None:
    first, second = _data(store, seed, ratios), _data(store, seed, ratios)
    forth = [first.draw(pair, epoch) for pair, epoch in order]
    back = [second.draw(pair, epoch) for pair, epoch in reversed(order)]
    assert all(equal(one, other) for one, other in zip(forth, reversed(back), strict=True))
