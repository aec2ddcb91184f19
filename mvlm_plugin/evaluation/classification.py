"""Figures of judgements about images and texts: accuracy and its error, classes, consistency."""

import re
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .pair_table import mean_and_error

# Split, set of photos, pair of them, sentence.
_IDENTIFIER = re.compile(r"([^-,\s]+)-([^-,\s]+)-[^-,\s]+-([^-,\s]+)")


class Score(NamedTuple):
    """A mean over ``texts`` texts and its standard error; nan where there are too few."""

    mean: float
    error: float
    texts: int

    def __str__(self) -> str:
        return f"{100 * self.mean:.2f} ± {100 * self.error:.2f} %"


def linked(keys: Sequence[Iterable[Hashable]]) -> Tensor:
    """Clusters of rows that have something in common, directly or through other rows: an image, a sentence.

    Args:
        keys: of each of n rows, what it shows or says.

    Returns:
        (n,) int64, equal for rows of one cluster; made for mean_and_error().
    """
    parents = list(range(len(keys)))

    def root(row: int) -> int:
        while parents[row] != row:
            parents[row] = parents[parents[row]]
            row = parents[row]
        return row

    first_with: dict[Hashable, int] = {}
    for row, row_keys in enumerate(keys):
        for key in row_keys:
            parents[root(row)] = root(first_with.setdefault(key, row))
    return torch.tensor([root(row) for row in range(len(keys))], dtype=torch.int64)


def score(values: Tensor, clusters: Tensor) -> Score:
    """Mean of n scores from 0 to 1, with an error that is robust to several texts of one image.

    Args:
        values: (n,) of any type, e.g. bool: judged right.
        clusters: (n,) int64, equal for rows that belong together; see linked().
    """
    return Score(*mean_and_error(values.double(), clusters), values.numel())


def scores_by(names: Sequence[str | None], values: Tensor, clusters: Tensor) -> dict[str, Score]:
    """score() of the rows of each name, most rows first; rows without a name are left out.

    Args:
        names: n kinds of rows, e.g. the types of questions.
        values, clusters: (n,), see score().
    """
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        if name is not None:
            rows_of.setdefault(name, []).append(row)
    ordered = sorted(rows_of.items(), key=lambda item: (-len(item[1]), item[0]))
    return {name: score(values[rows], clusters[rows]) for name, rows in ordered}


def confusion(truth: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """How often each class was taken for each.

    Args:
        truth, predicted: (n,) int64, from 0 to classes - 1.

    Returns:
        (classes, classes) int64; rows: truth, columns: predicted.
    """
    return torch.bincount(truth * classes + predicted, minlength=classes**2).view(classes, classes)


def consistency(correct: Tensor, sentences: Sequence[Hashable]) -> tuple[float, int]:
    """NLVR2's consistency: the share of sentences that are judged right with all of their images.

    Source: Suhr et al., *A Corpus for Reasoning About Natural Language Grounded in Photographs*, 2019.

    Args:
        correct: (n,) bool; sentences: n names, equal for rows with the same sentence; see sentence_of().

    Returns:
        The share, nan where n is 0, and the number of sentences.
    """
    all_right: dict[Hashable, bool] = {}
    for right, sentence in zip(correct.tolist(), sentences, strict=True):
        all_right[sentence] = all_right.get(sentence, True) and right
    return torch.tensor(list(all_right.values()), dtype=torch.float64).mean().item(), len(all_right)


def sentence_of(identifier: str) -> str | None:
    """The sentence of an example of NLVR2: ``dev-850-2-0`` (split-set-pair-sentence) -> ``dev-850-0``; else None."""
    match = _IDENTIFIER.fullmatch(identifier)
    return "-".join(match.groups()) if match else None
