"""Options for jobs of several processes, and what the task does with them before it loads data."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from fairseq.dataclass import FairseqDataclass
from fairseq.distributed import utils as distributed_utils
from omegaconf import II

from .errors import report_errors
from .launch import require_one_job
from .watch import start_watch

_joined: Any = None


@dataclass
class RanksConfig(FairseqDataclass):
    """How long processes of one job wait for one another."""

    peer_timeout: int = field(
        default=45,
        metadata={
            "help": "several processes: end when another has given no sign of life for this many seconds; 0 = never"
        },
    )
    collective_timeout: int = field(
        default=600,
        metadata={
            "help": "several processes: end when one waits for the others, all alive, for this many seconds; longer "
            "than the longest pause of one process, such as writing a checkpoint"
        },
    )
    ddp_backend: str = II("distributed_training.ddp_backend")


def join_ranks(cfg: RanksConfig) -> None:
    """Check that the processes form one job, set the timeouts, and start watching the others.

    Raises:
        SeparateProcessesError: several processes were started, each for itself.
        ValueError: a timeout out of range, or sharding that needs a library without maintenance.
    """
    global _joined
    if str(getattr(cfg.ddp_backend, "value", cfg.ddp_backend)) == "fully_sharded":
        raise ValueError(
            "--ddp-backend fully_sharded is not offered (it needs fairscale, which is not maintained); leave it away "
            "and save memory with --checkpoint-activations all and a smaller --batch-size"
        )
    if cfg.peer_timeout < 0 or cfg.collective_timeout <= 0:
        raise ValueError("--peer-timeout must be at least 0 and --collective-timeout above 0 seconds")
    require_one_job()
    if not dist.is_initialized() or dist.get_world_size() == 1 or _joined is dist.group.WORLD:
        return
    _joined = dist.group.WORLD
    for group in (dist.group.WORLD, distributed_utils.get_global_group()):
        dist.distributed_c10d._set_pg_timeout(timedelta(seconds=cfg.collective_timeout), group)
    report_errors(start_watch(cfg.peer_timeout) if cfg.peer_timeout else None)
