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


def keep_training_batch(trainer: Any) -> None:
    """Let fairseq repeat a training batch in training, also after a validation.

    It repeats the first batch of the data that it opened last. One of validation may be larger than --batch-size, and a
    run that goes on from a checkpoint would repeat another batch than one that was never stopped.
    """
    open_data, train_step = trainer.get_train_iterator, trainer.train_step
    batch: Any = None

    def open_and_keep(*args: Any, **kwargs: Any) -> Any:
        nonlocal batch
        iterator = open_data(*args, **kwargs)
        batch = trainer._dummy_batch
        return iterator

    def train_on_kept(*args: Any, **kwargs: Any) -> Any:
        trainer.reset_dummy_batch(batch)
        return train_step(*args, **kwargs)

    trainer.get_train_iterator, trainer.train_step = open_and_keep, train_on_kept
