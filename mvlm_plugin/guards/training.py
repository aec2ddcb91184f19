"""The guards in fairseq's training step.

fairseq ends a run whose gradient is not finite, after running its batch again; where it skips an update, it needs a
GPU. So a step of a task that has a guard leaves fairseq's by an exception of its own and is done with here.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from fairseq import metrics
from fairseq.trainer import Trainer
from torch import Tensor

from .bad_images import BadImages
from .options import GuardConfig
from .skipped_updates import SkippedUpdates

_fairseq_train_step = Trainer.train_step
_fairseq_clip_grad_norm = Trainer.clip_grad_norm
_fairseq_check_grad_norms = Trainer._check_grad_norms


class _NotFinite(Exception):
    """The gradient's norms over all ranks, one of which is not finite. fairseq's step catches nothing of this type."""


class TrainingGuard:
    """What a task keeps about its training run.

    Args:
        cfg: the task's options.

    Raises:
        ValueError: an option out of range.
    """

    def __init__(self, cfg: GuardConfig) -> None:
        self.updates = SkippedUpdates(cfg.max_skipped_updates)
        self.images = BadImages(cfg.max_bad_fraction)

    def skip(self, trainer: Any, samples: Sequence[dict[str, Any]], grad_norms: str) -> None:
        """The trainer's update is not made; see SkippedUpdates.skip()."""
        trainer.zero_grad()
        metrics.log_scalar_sum("skipped_updates", 1, priority=40)
        dataset = _training_data(trainer)
        ids = [int(pair) for sample in samples if sample for pair in sample["id"]]
        self.updates.skip(
            trainer.get_num_updates() + 1,
            trainer.task.epoch,
            grad_norms,
            dataset.find_pairs(ids),
            trainer.get_model(),
            Path(trainer.cfg.checkpoint.save_dir),
        )

    def finish(self, trainer: Any, samples: Sequence[dict[str, Any]], log: dict[str, Any]) -> None:
        """The trainer's update was made, and logged this over all ranks."""
        self.updates.made()
        folder = Path(trainer.cfg.checkpoint.save_dir)
        self.images.list(samples, _training_data(trainer).find_pairs, folder)
        # fairseq has just read all other figures of the log: reading this one waits for nothing.
        self.images.count(int(log["bad_images"]), log["sample_size"], folder)


def _training_data(trainer: Any) -> Any:
    return trainer.task.dataset(trainer.cfg.dataset.train_subset)


def _guard_of(trainer: Any) -> TrainingGuard | None:
    return getattr(trainer.task, "guard", None)


@metrics.aggregate("train")
def _train_step(self: Any, samples: Sequence[dict[str, Any]], raise_oom: bool = False) -> dict[str, Any] | None:
    guard = _guard_of(self)
    if guard is None:
        return _fairseq_train_step(self, samples, raise_oom)
    guard.updates.begin()
    try:
        # Unwrapped: an exception would leave fairseq's metrics recording for ever.
        log = _fairseq_train_step.__wrapped__(self, samples, raise_oom)
    except _NotFinite as error:
        guard.skip(self, samples, str(error))
        return None
    if log is not None:
        guard.finish(self, samples, log)
    return log


def _clip_grad_norm(self: Any, clip_norm: float) -> Tensor:
    norm, guard = _fairseq_clip_grad_norm(self, clip_norm), _guard_of(self)
    return norm if guard is None else guard.updates.marked(norm)


def _check_grad_norms(self: Any, grad_norm: Tensor) -> None:
    """fairseq's comparison of the ranks; all of them see all norms, so that all skip an update or none does."""
    if _guard_of(self) is None:
        return _fairseq_check_grad_norms(self, grad_norm)
    try:
        _fairseq_check_grad_norms(self, grad_norm)
    except FloatingPointError:
        norms = self._grad_norm_buf
        if norms is None or torch.isfinite(norms).all():
            raise
        raise _NotFinite(", ".join(f"{norm:g}" for norm in norms.tolist())) from None
    if not torch.isfinite(grad_norm):  # one process, and the norm is on the host
        raise _NotFinite(f"{float(grad_norm):g}")
    return None


def guard_trainers() -> None:
    """From now on fairseq's trainers heed the guard of their task, if it has one."""
    Trainer.train_step = _train_step
    Trainer.clip_grad_norm = _clip_grad_norm
    Trainer._check_grad_norms = _check_grad_norms
