import numpy as np
import pytest

from mvlm_plugin.masking.image import mask_blocks


@pytest.mark.parametrize(
    ("image_size", "block_size", "ratio", "side", "count"),
    [
        (224, 32, 0.6, 7, 29),
        (64, 16, 0.6, 4, 10),
        (80, 32, 0.5, 3, 4),  # the last row and column overhang
        (64, 32, 0.01, 2, 1),  # never none
        (64, 32, 0.99, 2, 3),  # never all
    ],
)
def test_number_of_masked_blocks_is_the_same_in_every_image(
    image_size: int, block_size: int, ratio: float, side: int, count: int
) -> None:
    for seed in range(50):
        mask = mask_blocks(image_size, block_size, ratio, np.random.default_rng(seed))
        assert mask.shape == (side, side)
        assert mask.dtype == bool
        assert mask.sum() == count


def test_every_block_is_masked_equally_often() -> None:
    rng = np.random.default_rng(1)
    draws = 4000
    shares = sum(mask_blocks(64, 16, 0.5, rng).astype(int) for _ in range(draws)) / draws
    assert shares == pytest.approx(0.5, abs=5 * np.sqrt(0.25 / draws))


def test_equal_random_sources_give_equal_masks() -> None:
    first, second, third = (mask_blocks(224, 32, 0.6, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert (first == second).all()
    assert (first != third).any()
