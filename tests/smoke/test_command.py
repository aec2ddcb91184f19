"""mvlm-smoke passes where everything works, and names what and who is broken."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mvlm_plugin.smoke.command import follow_slurm
from tests.cli.commands import ENVIRONMENT, ROOT, run, stood_in

# A gather whose gradient is that of this process alone: the mistake that the command is there to find.
BROKEN = """
import sys
import mvlm_plugin.distributed as distributed
from mvlm_plugin.smoke.command import main

distributed._AllGather.backward = staticmethod(lambda ctx, gradient: gradient[distributed.rank()])
sys.exit(main(sys.argv[1:]))
"""


def _as_torchrun(program: list[str], arguments: list[str]) -> tuple[int, str]:
    """Run a program as the two processes that torchrun would start; exit status and what rank 0 printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        job = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            stood_in([sys.executable, *program, *arguments]),
            env={**ENVIRONMENT, **job, "RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    return max(process.returncode for process in processes), outputs[0]


def test_everything_works(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mvlm_plugin.smoke", "--processes", "2", "--save-dir", str(tmp_path)]
    lines = run(command).splitlines()
    assert lines[0].startswith("2 processes, cpu")
    assert [line.split()[0] for line in lines[1:]] == ["ok"] * 8
    assert "all-reduce" in lines[-1]
    assert "GB/s" in lines[-1]
    assert os.listdir(tmp_path) == []


def test_a_wrong_gradient_of_the_gather(tmp_path: Path) -> None:
    program = tmp_path / "broken.py"
    program.write_text(BROKEN)
    status, output = _as_torchrun([str(program)], ["--save-dir", str(tmp_path / "save")])
    assert status == 1
    failed = [line for line in output.splitlines() if not line.startswith(("ok", "2 processes"))]
    assert failed[0].startswith("FAILED  gather with gradient")
    assert [line.split(":")[0].split(" on ")[0].strip() for line in failed[1:]] == ["rank 0", "rank 1"]
    assert "the gradient of gathered rows is wrong by" in failed[1]


def test_a_process_that_reads_other_data(tiny_databin: Path, tmp_path: Path) -> None:
    program = tmp_path / "short.py"
    program.write_text(
        "import os, sys\n"
        "from mvlm_plugin.data.dataset import JointMaskedDataset\n"
        "from mvlm_plugin.smoke.command import main\n"
        "if os.environ['RANK'] == '1':\n"
        "    JointMaskedDataset.__len__ = lambda self: 40\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    status, output = _as_torchrun([str(program)], ["--save-dir", str(tmp_path), "--data", str(tiny_databin)])
    assert status == 1
    assert "FAILED  every pair once an epoch" in output
    assert "rank 1 on " in output


def test_tasks_of_srun_find_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho node1\necho node2\n")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    slurm = {"STEP_NUM_TASKS": "16", "STEP_NODELIST": "node[1-2]", "STEP_TASKS_PER_NODE": "8(x2)"}
    environment = {f"SLURM_{name}": value for name, value in {**slurm, "PROCID": "13", "LOCALID": "5"}.items()}
    follow_slurm(environment)
    joined = {"RANK": "13", "LOCAL_RANK": "5", "WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8", "MASTER_ADDR": "node1"}
    assert joined.items() <= environment.items()
