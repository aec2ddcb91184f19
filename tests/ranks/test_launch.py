"""Options that fairseq's processes get from torchrun and Slurm."""

from pathlib import Path

import pytest
import torch
from fairseq.dataclass.configs import FairseqConfig
from fairseq.distributed import utils as distributed_utils
from omegaconf import OmegaConf

from mvlm_plugin.ranks.launch import SeparateProcessesError, join_torchrun, require_one_job

TORCHRUN = {"MASTER_ADDR": "h", "MASTER_PORT": "1", "WORLD_SIZE": "8", "RANK": "5", "LOCAL_RANK": "1"}


def _config() -> FairseqConfig:
    return OmegaConf.structured(FairseqConfig)


def test_torchrun_on_a_cpu() -> None:
    cfg = _config()
    join_torchrun(cfg, TORCHRUN)
    job = cfg.distributed_training
    assert (job.distributed_init_method, job.distributed_world_size, job.distributed_rank) == ("env://", 8, 5)
    assert (job.distributed_no_spawn, job.distributed_backend, job.ddp_backend) == (True, "gloo", "legacy_ddp")


@pytest.mark.parametrize(("visible", "device"), [(4, 1), (1, 0)], ids=["all GPUs visible", "one GPU a process"])
def test_torchrun_with_gpus(monkeypatch: pytest.MonkeyPatch, visible: int, device: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    cfg = _config()
    join_torchrun(cfg, TORCHRUN)
    job = cfg.distributed_training
    assert (job.distributed_world_size, job.distributed_rank, job.device_id) == (8, 5, device)
    assert (job.distributed_backend, job.ddp_backend) == ("nccl", "pytorch_ddp")


@pytest.mark.parametrize("environment", [{}, {**TORCHRUN, "WORLD_SIZE": "1"}], ids=["no torchrun", "one process"])
def test_one_process_is_left_alone(environment: dict[str, str]) -> None:
    cfg = _config()
    join_torchrun(cfg, environment)
    assert cfg == _config()
    require_one_job(environment)


def test_given_options_win() -> None:
    cfg = _config()
    cfg.distributed_training.distributed_init_method = "tcp://other:2"
    join_torchrun(cfg, TORCHRUN)
    assert cfg.distributed_training.distributed_rank == 0


def test_separate_processes_are_an_error_with_the_fix() -> None:
    with pytest.raises(SeparateProcessesError, match=r"distributed_training\.distributed_world_size=8 "):
        require_one_job(TORCHRUN)
    with pytest.raises(SeparateProcessesError, match="--distributed-world-size 16 --distributed-port"):
        require_one_job({"SLURM_STEP_NUM_TASKS": "16"})


def test_srun_with_a_task_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What the message above and the guide promise of fairseq's own reading of Slurm's variables.
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho node1\necho node2\n")
    (tmp_path / "scontrol").chmod(0o755)
    slurm = {"STEP_NODELIST": "node[1-2]", "NNODES": "2", "NTASKS_PER_NODE": "8", "PROCID": "13", "LOCALID": "5"}
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    job = _config().distributed_training
    job.distributed_world_size, job.distributed_port = 16, 29500
    distributed_utils.infer_init_method(job)
    assert job.distributed_init_method == "tcp://node1:29500"
    assert (job.distributed_world_size, job.distributed_rank, job.device_id) == (16, 13, 5)
    assert job.distributed_no_spawn
