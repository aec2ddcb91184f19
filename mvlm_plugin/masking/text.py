"""Which words of a caption are masked, and what stands in their place."""

from typing import NamedTuple

import numpy as np

# Of the chosen tokens, how many become <mask> and how many a random word; the rest stay (BERT, Devlin et al., 2019).
MASK_SHARE = 0.8
RANDOM_SHARE = 0.1


class MaskedText(NamedTuple):
    """tokens: (L,) int64 with replacements made; chosen: (L,) bool, True = to be predicted."""

    tokens: np.ndarray
    chosen: np.ndarray


def mask_text(
    tokens: np.ndarray, ratio: float, mask_id: int, words: tuple[int, int], rng: np.random.Generator
) -> MaskedText:
    """Mask part of a caption: never its first and last token, always at least one of those between.

    Args:
        tokens: (L,) int64, <s> first and </s> last.
        ratio: share of the tokens between them to choose, rounded up or down at random so that it holds on average.
        mask_id: id of <mask>.
        words: range [first, end) of ids that a random replacement is drawn from.
        rng: source of randomness.

    Returns:
        The masked caption; nothing is chosen where nothing stands between <s> and </s>.
    """
    inner = len(tokens) - 2
    chosen = np.zeros(len(tokens), dtype=bool)
    masked = tokens.copy()
    if inner < 1:
        return MaskedText(masked, chosen)
    count = min(inner, max(1, int(ratio * inner + rng.random())))
    positions = 1 + rng.choice(inner, count, replace=False)
    chosen[positions] = True
    fate = rng.random(count)
    masked[positions[fate < MASK_SHARE]] = mask_id
    replaced = positions[(fate >= MASK_SHARE) & (fate < MASK_SHARE + RANDOM_SHARE)]
    masked[replaced] = rng.integers(*words, size=len(replaced))
    return MaskedText(masked, chosen)
