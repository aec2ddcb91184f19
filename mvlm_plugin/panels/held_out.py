"""The pairs that panels show: chosen once, so that what is seen changes with the model alone."""

from typing import Any, NamedTuple

from fairseq.data import FairseqDataset

from ..data.dataset import GROUP_SIZE
from .sheet import first_pairs

# Gradients need the memory of a training step; validation's figures need little.
_GRADIENT_PAIRS = 16


class HeldOut(NamedTuple):
    """Batches of the first pairs of a split, on the CPU."""

    drawn: dict[str, Any]
    differentiated: dict[str, Any]
    judged: dict[str, Any]


def choose_pairs(dataset: FairseqDataset, drawn: int, batch_size: int | None) -> HeldOut:
    """The first pairs of a split.

    Args:
        dataset: of one split.
        drawn: pairs that are drawn.
        batch_size: pairs that a training step holds in memory at once; no batch but the drawn one is larger.
    """
    most = batch_size or _GRADIENT_PAIRS
    samples = first_pairs(dataset, max(drawn, min(GROUP_SIZE, most)))
    counts = (drawn, min(_GRADIENT_PAIRS, most), min(GROUP_SIZE, most))
    return HeldOut(*(dataset.collater(samples[: max(2, count)]) for count in counts))
