"""What a training step must know about the batches of all processes."""

import logging
from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.dataclass import FairseqDataclass
from omegaconf import II

from ..distributed import rank, world_size
from .feature_cache import CachedStep

logger = logging.getLogger(__name__)


@dataclass
class GlobalBatchConfig(FairseqDataclass):
    """Large contrastive batches; the other fields are fairseq's own options, read here."""

    feature_cache_chunk: int = field(
        default=0,
        metadata={
            "help": "train on a large --batch-size with the activations of only this many pairs in memory: features "
            "are cached and encoded twice (GradCache), same losses and gradients; 0 = off"
        },
    )
    batch_size: Optional[int] = II("dataset.batch_size")
    update_freq: Any = II("optimization.update_freq")  # noqa: RUF009  a string


class GlobalBatch:
    """The task's training step on this process's share of a batch.

    Args:
        cfg: the task's options.

    Raises:
        ValueError: a negative --feature-cache-chunk.
    """

    def __init__(self, cfg: Any) -> None:
        if cfg.feature_cache_chunk < 0:
            raise ValueError(f"--feature-cache-chunk {cfg.feature_cache_chunk} must be at least 0")
        self.cfg = cfg
        self.capacity = cfg.batch_size if isinstance(cfg.batch_size, int) else None
        self._is_begun = False

    def step(
        self, sample: dict[str, Any], model: Any, criterion: Any, update_num: int, ignore_grad: bool
    ) -> tuple[Any, int, dict[str, Any]] | None:
        """Forward and backward with cached features; None where that is off and fairseq's own step is to run.

        Raises:
            ValueError: cached features do not go together with another option.
        """
        if not self._is_begun:
            self._begin(model, criterion)
            self._is_begun = True
        if not self.cfg.feature_cache_chunk:
            return None
        model.train()
        model.set_num_updates(update_num)
        factor = 0.0 if ignore_grad else 1.0
        return CachedStep(model, criterion, self.cfg.feature_cache_chunk, factor)(sample)

    def _begin(self, model: Any, criterion: Any) -> None:
        """Before the first step: refuse what cannot work, and say what accumulation does not do."""
        if self.cfg.feature_cache_chunk:
            if world_size() > 1 and str(self.cfg.ddp_backend) not in ("legacy_ddp", "no_c10d"):
                raise ValueError(
                    "--feature-cache-chunk runs many backward passes a step, which --ddp-backend "
                    f"{self.cfg.ddp_backend} would reduce one by one; add --ddp-backend legacy_ddp"
                )
            if model.cfg.train_batch_norm:
                raise ValueError(
                    "--feature-cache-chunk: batch norms would follow the chunks; leave --train-batch-norm away"
                )
        elif rank() == 0 and criterion.weights["itc"] > 0:
            message = accumulation_message(self.cfg.update_freq, self.capacity)
            if message:
                logger.info(message)


def accumulation_message(update_freq: Any, capacity: int | None) -> str:
    """What --update-freq does not do for the contrastive loss, in a line; empty where nothing is accumulated.

    Args:
        update_freq: batches an update, an entry an epoch; one that is not a list counts as 1.
        capacity: --batch-size, if it is given.
    """
    most = 1 if isinstance(update_freq, str) else max(update_freq)
    if most == 1:
        return ""
    processes = world_size()
    others = "the others of its own batch" if capacity is None else f"{capacity * processes - 1} others"
    counted = "" if capacity is None else f" (batch {capacity} x {processes} processes - 1)"
    return (
        f"--update-freq {most} adds no negatives: each pair is contrasted with {others}{counted}; for more, raise "
        "--batch-size and set --feature-cache-chunk to what fits into memory"
    )
