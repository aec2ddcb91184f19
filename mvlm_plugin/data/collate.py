"""Samples to batches: padding, and the positions of masked words, worked out where no device has to wait."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .replacement import BadPair


class Sample(NamedTuple):
    """One pair, masked.

    pair: of the caption in its split; image_id: of the image; image: (3, S, S) uint8; tokens and masked_tokens:
    (L,) int64; chosen: (L,) bool, True = predicted; blocks: (R, R) bool, True = masked; bad: pairs that were given up
    in favour of this one; source: number of its data set in a mixture.
    """

    pair: int
    image_id: int
    image: Tensor
    tokens: np.ndarray
    masked_tokens: np.ndarray
    chosen: np.ndarray
    blocks: np.ndarray
    bad: tuple[BadPair, ...] = ()
    source: int = 0


def pad_rows(rows: list[np.ndarray], value: int) -> Tensor:
    """Ragged rows -> (B, length of the longest) int64."""
    length = max((len(row) for row in rows), default=0)
    padded = np.full((len(rows), length), value, dtype=np.int64)
    for row, values in zip(padded, rows, strict=True):
        row[: len(values)] = values
    return torch.from_numpy(padded)


def count_bad(samples: Sequence[Any]) -> dict[str, Any]:
    """What a batch says of the images that could not be read: ``bad``, a list of BadPairs, and how many they are."""
    bad = [pair for sample in samples for pair in sample.bad]
    return {"bad": bad, "bad_images": len(bad)}


def collate(samples: list[Sample], pad: int) -> dict[str, Any]:
    """Make a batch.

    Args:
        samples: of one data set; none gives an empty batch, as fairseq wants it for idle ranks.
        pad: id of the padding token.

    Returns:
        dict with ``net_input`` (the model's arguments: images (B, 3, S, S) uint8, tokens and masked_tokens (B, L),
        image_ids (B,), mlm_positions (M,) = row * L + column, block_mask (B, R, R)), ``mlm_targets`` (M,),
        ``id`` (B,), ``bad``, a list of the BadPairs given up, and counts.
    """
    if not samples:
        return {}
    tokens = pad_rows([sample.tokens for sample in samples], pad)
    chosen = pad_rows([sample.chosen for sample in samples], 0)
    positions = chosen.flatten().nonzero().flatten()
    return {
        "id": torch.tensor([sample.pair for sample in samples]),
        "nsentences": len(samples),
        "ntokens": sum(len(sample.tokens) for sample in samples),
        **count_bad(samples),
        "mlm_targets": tokens.flatten()[positions],
        "net_input": {
            "images": torch.stack([sample.image for sample in samples]),
            "tokens": tokens,
            "image_ids": torch.tensor([sample.image_id for sample in samples]),
            "masked_tokens": pad_rows([sample.masked_tokens for sample in samples], pad),
            "mlm_positions": positions,
            "block_mask": torch.from_numpy(np.stack([sample.blocks for sample in samples])),
        },
    }
