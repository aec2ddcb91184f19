import numpy as np
import pytest

from mvlm_plugin.masking.text import mask_text

BOS, EOS, MASK, WORDS = 0, 2, 99, (4, 99)


def caption(words: int) -> np.ndarray:
    return np.concatenate([[BOS], 10 + np.arange(words) % 80, [EOS]]).astype(np.int64)


@pytest.mark.parametrize("words", [1, 2, 7, 30])
@pytest.mark.parametrize("ratio", [0.01, 0.3, 0.99])
def test_first_and_last_token_stay_and_at_least_one_between_is_chosen(words: int, ratio: float) -> None:
    tokens = caption(words)
    for seed in range(200):
        masked, chosen = mask_text(tokens, ratio, MASK, WORDS, np.random.default_rng(seed))
        assert not chosen[0]
        assert not chosen[-1]
        assert 1 <= chosen.sum() <= words
        assert (masked[~chosen] == tokens[~chosen]).all()


@pytest.mark.parametrize(("words", "ratio"), [(9, 0.3), (12, 0.15), (5, 0.5), (20, 0.33)])
def test_the_ratio_holds_on_average(words: int, ratio: float) -> None:
    rng = np.random.default_rng(1)
    counts = [mask_text(caption(words), ratio, MASK, WORDS, rng).chosen.sum() for _ in range(3000)]
    # Rounding is up or down by chance: the count varies by at most 1, so 4 standard errors are 4 * 0.5 / sqrt(3000).
    assert np.mean(counts) == pytest.approx(ratio * words, abs=4 * 0.5 / np.sqrt(3000))
    assert max(counts) - min(counts) <= 1


def test_every_word_is_chosen_equally_often() -> None:
    rng = np.random.default_rng(2)
    draws = 6000
    shares = sum(mask_text(caption(10), 0.3, MASK, WORDS, rng).chosen for _ in range(draws))[1:-1] / draws
    assert shares == pytest.approx(0.3, abs=5 * np.sqrt(0.3 * 0.7 / draws))


def test_replacements_are_80_10_10() -> None:
    rng = np.random.default_rng(3)
    tokens = np.full(1002, 50)
    tokens[0], tokens[-1] = BOS, EOS
    fates = {"mask": 0, "other": 0, "kept": 0}
    total = 0
    for _ in range(40):
        masked, chosen = mask_text(tokens, 0.5, MASK, WORDS, rng)
        values = masked[chosen]
        fates["mask"] += (values == MASK).sum()
        fates["kept"] += (values == 50).sum()
        fates["other"] += ((values != MASK) & (values != 50)).sum()
        total += chosen.sum()
    other = 0.1 * 94 / 95  # a random word may be the old one
    for name, share in {"mask": 0.8, "other": other, "kept": 0.2 - other}.items():
        assert fates[name] / total == pytest.approx(share, abs=5 * np.sqrt(share / total))


def test_random_words_come_from_the_whole_range_and_nowhere_else() -> None:
    rng = np.random.default_rng(4)
    tokens = np.full(1002, 50)
    tokens[0], tokens[-1] = BOS, EOS
    seen: set[int] = set()
    for _ in range(60):
        masked, chosen = mask_text(tokens, 0.9, MASK, (4, 12), rng)
        seen |= set(masked[chosen].tolist())
    assert seen == {*range(4, 12), 50, MASK}


def test_a_caption_of_one_word_has_it_chosen() -> None:
    chosen = mask_text(caption(1), 0.3, MASK, WORDS, np.random.default_rng(0)).chosen
    assert chosen.tolist() == [False, True, False]


@pytest.mark.parametrize("tokens", [[BOS, EOS], [EOS]])
def test_an_empty_caption_stays_as_it_is(tokens: list[int]) -> None:
    masked, chosen = mask_text(np.array(tokens), 0.3, MASK, WORDS, np.random.default_rng(0))
    assert masked.tolist() == tokens
    assert not chosen.any()


def test_the_given_caption_is_not_written_to() -> None:
    tokens = caption(20)
    mask_text(tokens, 0.9, MASK, WORDS, np.random.default_rng(0))
    assert (tokens == caption(20)).all()


def test_equal_random_sources_give_equal_masks() -> None:
    first, second, third = (mask_text(caption(20), 0.5, MASK, WORDS, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert (first.tokens == second.tokens).all()
    assert (first.chosen == second.chosen).all()
    assert (first.chosen != third.chosen).any()
