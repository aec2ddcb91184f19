"""Make the processes that torchrun or Slurm started one job, or say why they are none.

fairseq joins torchrun's processes only if each sees several GPUs, and never on a CPU: each process would train a model
of its own, and all of them would write the same checkpoints.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from fairseq.dataclass.configs import FairseqConfig
from fairseq.distributed import utils as distributed_utils

_TORCHRUN = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK", "LOCAL_RANK")
_fairseq_call_main = distributed_utils.call_main


class SeparateProcessesError(RuntimeError):
    """Several processes were started but do not form one job; the message has the options that join them."""


def _torchrun_processes(environment: Mapping[str, str]) -> int:
    """Number of processes that torchrun started; 1 without torchrun."""
    return int(environment["WORLD_SIZE"]) if all(name in environment for name in _TORCHRUN) else 1


def join_torchrun(cfg: FairseqConfig, environment: Mapping[str, str] = os.environ) -> None:
    """Fill in fairseq's distributed options for a process that torchrun started; others are left as they are.

    Without GPUs the processes talk through gloo, and gradients go through the wrapper that takes a CPU.
    """
    job = cfg.distributed_training
    if _torchrun_processes(environment) == 1 or job.distributed_init_method is not None:
        return
    job.distributed_init_method = "env://"
    job.distributed_world_size = int(environment["WORLD_SIZE"])
    job.distributed_rank = int(environment["RANK"])
    job.distributed_no_spawn = True
    if cfg.common.cpu or not torch.cuda.is_available():
        job.device_id = 0
        job.distributed_backend = "gloo"
        job.ddp_backend = "legacy_ddp"
    else:
        # One GPU may be visible to each process, or all of them to all.
        job.device_id = int(environment["LOCAL_RANK"]) % torch.cuda.device_count()


def _call_main(cfg: FairseqConfig, main: Callable[..., None], **kwargs: Any) -> None:
    join_torchrun(cfg)
    _fairseq_call_main(cfg, main, **kwargs)


def follow_launcher() -> None:
    """Let fairseq's commands join torchrun's processes.

    ``fairseq-train`` imports the user-dir in time for this; ``fairseq-hydra-train`` does not, and is told what to add
    by require_one_job().
    """
    distributed_utils.call_main = _call_main


def require_one_job(environment: Mapping[str, str] = os.environ) -> None:
    """Raise SeparateProcessesError where a launcher started several processes and this one is alone."""
    if dist.is_initialized():
        return
    count = _torchrun_processes(environment)
    if count > 1:
        raise SeparateProcessesError(
            f"torchrun started {count} processes, but each would train a model of its own; give fairseq-hydra-train "
            f"distributed_training.distributed_world_size={count} "
            "distributed_training.distributed_init_method=env:// distributed_training.distributed_no_spawn=true "
            "distributed_training.distributed_rank='${oc.env:RANK}' and without GPUs "
            "distributed_training.distributed_backend=gloo distributed_training.ddp_backend=legacy_ddp"
        )
    count = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
    if count > 1:
        raise SeparateProcessesError(
            f"srun started {count} tasks, but each would train a model of its own; start one torchrun a node "
            f"(examples/pretrain/launch/slurm.sbatch), or add --distributed-world-size {count} --distributed-port "
            "29500; if they are to be separate runs, unset SLURM_STEP_NUM_TASKS"
        )
