"""Training runs of a tiny model in this process."""

import copy
import functools
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from fairseq import checkpoint_utils, metrics, options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.trainer import Trainer
from fairseq_cli import train as fairseq_train
from omegaconf import OmegaConf

from mvlm_plugin.criterions.joint_masked_vl import JointMaskedVLCriterion


@functools.cache
def _options(optimizer: str) -> Any:
    """fairseq's configuration of a small run; composing it takes seconds."""
    command = [
        "--task", "joint_masked_vl", "--arch", "mvlm_tiny", "--criterion", "joint_masked_vl", "--image-size", 32,
        "--image-encoder", "vit_tiny_patch8", "--image-mask-block", 16, "--fusion-layers", 1, "--optimizer", optimizer,
        "--lr", 1e-3, "--batch-size", 6, "--cpu", "--disable-validation", "--no-epoch-checkpoints", "--log-format",
        "json", "--log-interval", 1, "--num-workers", 0, "--mlm-weight", 0, "--itm-weight", 0,
    ]  # fmt: skip
    parser = options.get_training_parser()
    return convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, ["data", *map(str, command)]))


def train(data: str | Path, folder: Path, updates: int = 6, optimizer: str = "adam", **changes: Any) -> dict[str, Any]:
    """fairseq-train on the CPU; returns its last checkpoint. Other options as SECTION__NAME=value."""
    cfg = copy.deepcopy(_options(optimizer))
    changes |= {"task__data": str(data), "checkpoint__save_dir": str(folder), "optimization__max_update": updates}
    for name, value in changes.items():
        OmegaConf.update(cfg, name.replace("__", "."), value)
    metrics.reset()
    fairseq_train.main(cfg)
    if dist.is_initialized():
        dist.barrier()  # rank 0 writes the checkpoint
    return checkpoint_utils.load_checkpoint_to_cpu(str(folder / "checkpoint_last.pt"))


def spoil_losses(patch: pytest.MonkeyPatch, is_bad: Callable[[dict[str, Any]], bool], value: float = math.nan) -> None:
    """Let the criterion's loss be multiplied by a value that is not finite, in batches that meet a condition."""
    forward = JointMaskedVLCriterion.forward

    def spoiled(self: Any, model: torch.nn.Module, sample: dict[str, Any], reduce: bool = True) -> Any:
        loss, size, log = forward(self, model, sample, reduce)
        return (loss * value if is_bad(sample) else loss), size, log

    patch.setattr(JointMaskedVLCriterion, "forward", spoiled)


def updates_of(patch: pytest.MonkeyPatch) -> list[list[int]]:
    """From now on a list of the pairs of every update that is begun."""
    seen: list[list[int]] = []
    step = Trainer.train_step

    def watched(self: Any, samples: Iterable[dict[str, Any]], raise_oom: bool = False) -> Any:
        seen.append([int(pair) for sample in samples for pair in sample["id"]])
        return step(self, samples, raise_oom)

    patch.setattr(Trainer, "train_step", watched)
    return seen
