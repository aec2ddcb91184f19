"""The step of a process that has run out of data before the others."""

from typing import Any

import torch

from ..losses.negatives import NO_PAIR


def without_pairs(sample: dict[str, Any]) -> dict[str, Any]:
    """The batch that fairseq repeats with a loss of 0 while other processes have data left, as no pairs of the job.

    Every process takes part in the collectives of a step. NO_PAIR as image id says that a row is none: contrastive loss
    and hard negatives of the other processes leave them out.
    """
    inputs = sample["net_input"]
    return {**sample, "net_input": {**inputs, "image_ids": torch.full_like(inputs["image_ids"], NO_PAIR)}}
