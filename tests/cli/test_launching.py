"""What torchrun and Slurm start is one job, and its losses do not depend on the number of processes."""

import os
import socket
from pathlib import Path

import pytest
import torch

from tests.cli.commands import ROOT, logged, run, shell_path, train_command

LAUNCH = ROOT / "examples" / "pretrain" / "launch"
# 360 pairs in batches of 64: the last update of an epoch has 40, and with four processes one of them has none.
UPDATES, BATCH = 7, 64
# Stands for Slurm on one machine: two nodes, each running what srun is given.
SRUN = """#!/usr/bin/env bash
while [[ "$1" == --* ]]; do shift; done
"$@" & first=$!
"$@" & second=$!
wait $first && wait $second
"""


def _train(data: Path, save_dir: Path, processes: int) -> list[str]:
    options = ["--global-negatives", "--seed", 3, "--disable-validation", "--clip-norm", 1]
    return train_command(data, save_dir, *options, updates=UPDATES, batch=BATCH // processes)


@pytest.fixture(scope="module")
def alone(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    """Checkpoint and losses of the same training in one process."""
    folder = tmp_path_factory.mktemp("alone")
    return folder / "checkpoint_last.pt", logged(run(_train(scenes, folder, 1)), "train_inner")


def _free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def _same_curve(output: str, save_dir: Path, alone: tuple[Path, list[dict]]) -> None:
    """One job: one log line an update, the batch of all processes, the losses and weights of one process."""
    checkpoint, expected = alone
    updates = logged(output, "train_inner")
    assert [update["num_updates"] for update in updates] == [str(1 + i) for i in range(UPDATES)], output[-3000:]
    assert [float(update["bsz"]) for update in updates] == [64, 64, 64, 64, 64, 40, 64]
    for name in ("loss", "mlm_loss", "mim_loss", "itc_loss", "itm_loss", "gnorm"):
        curves = [[float(update[name]) for update in run] for run in (updates, expected)]
        assert curves[0] == pytest.approx(curves[1], rel=1e-3 if name == "gnorm" else 1e-4), name
    weights, others = (torch.load(path)["model"] for path in (save_dir / "checkpoint_last.pt", checkpoint))
    # Adam makes a full step of 1e-3 of a gradient of nearly 0, whatever its sign: single weights may differ.
    apart = torch.cat([(weights[name] - others[name]).abs().flatten() for name in weights])
    assert apart.mean() < 1e-5


def test_torchrun_forms_one_job(scenes: Path, tmp_path: Path, alone: tuple[Path, list[dict]]) -> None:
    arguments = _train(scenes, tmp_path, 2)[1:]
    output = run([str(LAUNCH / "torchrun.sh"), *arguments], NPROC="2", MASTER_PORT=_free_port(), PATH=shell_path())
    _same_curve(output, tmp_path, alone)


def test_the_slurm_script_forms_one_job(scenes: Path, tmp_path: Path, alone: tuple[Path, list[dict]]) -> None:
    stubs = {"scontrol": "#!/usr/bin/env bash\necho 127.0.0.1\necho other\n", "srun": SRUN}
    for name, text in stubs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    slurm = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2"}
    path = os.pathsep.join([str(tmp_path), shell_path()])
    arguments = _train(scenes, tmp_path / "save", 4)[1:]
    output = run([str(LAUNCH / "slurm.sbatch"), *arguments], NPROC="2", PATH=path, **slurm)
    _same_curve(output, tmp_path / "save", alone)
